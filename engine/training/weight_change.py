"""Measure how far a training moved the weights, piece by piece from the files: no tensor is read or mapped whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from unlearn_sweep.engine.models.headers import ModelFolder, StoredTensor
from unlearn_sweep.engine.models.loading import model_folder
from unlearn_sweep.engine.models.weight_files import NAMES

DTYPES = {name: dtype for dtype, name in NAMES.items() if dtype.is_floating_point}
"""Number formats of weights, by their names in safetensors headers."""
PIECE = 1 << 20
"""Numbers read at one time; in float64, with differences, some 40 MiB."""


def relative_change(start: str, trained: Path) -> float | None:
    """Return the L2 norm of all differences over that of the start model's weights, computed in float64.

    `start` is a folder or hub id. Weights are compared in the trained model's number format, so saving in another
    format does not count as a change. Return None if the models share no tensor of equal shape, the start weights are
    all zero, or a difference is not finite.
    """
    before = ModelFolder(model_folder(start)).tensors
    moved, length, shared = 0.0, 0.0, 0
    for name, now in ModelFolder(trained).tensors.items():
        then = before.get(name)
        if then is None or then.shape != now.shape or not {now.dtype, then.dtype} <= DTYPES.keys():
            continue
        for new, old in zip(_pieces(now), _pieces(then), strict=True):
            rounded = old.to(new.dtype).double()
            moved += float((new.double() - rounded).square().sum())
            length += float(rounded.square().sum())
        shared += 1
    if not shared or length == 0 or not math.isfinite(moved):
        return None
    return math.sqrt(moved / length)


def _pieces(stored: StoredTensor) -> Iterator[Tensor]:
    """Read the numbers of a stored tensor, flat, PIECE at a time."""
    dtype = DTYPES[stored.dtype]
    with stored.file.open("rb", buffering=0) as stream:
        stream.seek(stored.begin)
        for done in range(0, stored.numbers, PIECE):
            wanted = min(PIECE, stored.numbers - done) * dtype.itemsize
            found = bytearray(stream.read(wanted))
            if len(found) < wanted:
                raise OSError(f"{stored.file}: cut off at byte {stream.tell()}")
            yield torch.frombuffer(found, dtype=dtype)
