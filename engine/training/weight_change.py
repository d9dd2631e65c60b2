"""Measure how far a training moved the weights, one tensor at a time from the files, with no model in memory."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import safe_open

from unlearn_sweep.engine.models.loading import WEIGHTS, model_folder


def relative_change(start: str, trained: Path) -> float | None:
    """Return the L2 norm of all differences over that of the start model's weights, computed in float64.

    `start` is a folder or hub id. Weights are compared in the trained model's number format, so saving in another
    format does not count as a change. Return None if the models share no tensor of equal shape, the start weights are
    all zero, or a difference is not finite.
    """
    before = _places(model_folder(start))
    moved, length, shared = 0.0, 0.0, 0
    for name, file in _places(trained).items():
        if name not in before:
            continue
        now, then = _tensor(file, name), _tensor(before[name], name)
        if now.shape != then.shape or not now.is_floating_point():
            continue
        then = then.to(now.dtype).double()
        moved += float((now.double() - then).square().sum())
        length += float(then.square().sum())
        shared += 1
    if not shared or length == 0 or not math.isfinite(moved):
        return None
    return math.sqrt(moved / length)


def _places(folder: Path) -> dict[str, Path]:
    """Return the file of each tensor, by name."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob(WEIGHTS)):
        with safe_open(file, framework="pt") as tensors:
            found |= dict.fromkeys(tensors.keys(), file)
    return found


def _tensor(file: Path, name: str) -> torch.Tensor:
    with safe_open(file, framework="pt") as tensors:
        return tensors.get_tensor(name)
