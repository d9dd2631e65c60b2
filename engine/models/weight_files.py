"""Write safetensors files one tensor at a time, so that no more than one is in memory.

The format: 8 bytes with the length of the header, the header as JSON (dtype, shape, begin and end of each tensor), then
the numbers. https://huggingface.co/docs/safetensors, read 2026-11-27.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from unlearn_sweep.user_error import UserError

NAMES: Mapping[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
INDEX = "model.safetensors.index.json"
LARGEST_FILE = 5 * 10**9
"""Bytes after which the next tensor begins another file, as libraries that read such folders expect."""
ALIGNMENT = 8


class UnplannedTensorError(UserError, ValueError):
    """A tensor was written that was not planned, or not all planned ones were written."""


class WeightFiles:
    """The weights of one model in `folder`: one file, or several with an index.

    `planned` has every tensor by name, with its shape and dtype; tensors on the meta device will do. Write each once.
    """

    def __init__(self, folder: Path, planned: Mapping[str, Tensor], *, largest_file: int = LARGEST_FILE) -> None:
        self.folder = folder
        self.planned = planned
        self.missing = set(planned)
        groups = _groups(planned, largest_file)
        self.files = {name: _file_name(number, len(groups)) for number, names in enumerate(groups) for name in names}
        self.places: dict[str, tuple[Path, int]] = {}
        for number, names in enumerate(groups):
            self._begin(folder / _file_name(number, len(groups)), names)

    def write(self, name: str, tensor: Tensor) -> None:
        """Write one tensor to its place.

        Raises:
            UnplannedTensorError: it is not planned, or planned with another shape or dtype.
        """
        planned = self.planned.get(name)
        if planned is None or planned.shape != tensor.shape or planned.dtype != tensor.dtype:
            raise UnplannedTensorError(
                f"{name}, {tuple(tensor.shape)} of {tensor.dtype}, is not in the plan of the files"
            )
        file, offset = self.places[name]
        with file.open("r+b") as stream:
            stream.seek(offset)
            stream.write(_numbers(tensor))
        self.missing.discard(name)

    def finish(self) -> None:
        """Write the index, if there are several files.

        Raises:
            UnplannedTensorError: planned tensors were not written.
        """
        if self.missing:
            raise UnplannedTensorError(
                f"{len(self.missing)} planned weights were not written, such as {min(self.missing)}"
            )
        if len(set(self.files.values())) > 1:
            metadata = {
                "total_parameters": sum(tensor.numel() for tensor in self.planned.values()),
                "total_size": sum(tensor.numel() * tensor.element_size() for tensor in self.planned.values()),
            }
            text = json.dumps({"metadata": metadata, "weight_map": self.files}, indent=2, sort_keys=True) + "\n"
            (self.folder / INDEX).write_text(text, encoding="utf-8")

    def _begin(self, file: Path, names: list[str]) -> None:
        """Write a file's header, and make the file as long as it will be."""
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in names:
            tensor, begin = self.planned[name], end
            end = begin + tensor.numel() * tensor.element_size()
            header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
            self.places[name] = (file, begin)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        with file.open("wb") as stream:
            _write_header(stream, text, end)
        for name in names:
            self.places[name] = (file, self.places[name][1] + 8 + len(text))


def _write_header(stream: BinaryIO, text: bytes, size: int) -> None:
    stream.write(len(text).to_bytes(8, "little"))
    stream.write(text)
    stream.truncate(8 + len(text) + size)


def _groups(planned: Mapping[str, Tensor], largest_file: int) -> list[list[str]]:
    """Return the names of each file's tensors; one larger than `largest_file` bytes has a file of its own."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, tensor in planned.items():
        own = tensor.numel() * tensor.element_size()
        if groups[-1] and size + own > largest_file:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += own
    return groups


def _file_name(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number + 1:05}-of-{count:05}.safetensors"


def _numbers(tensor: Tensor) -> bytes | memoryview:
    """Return the bytes of a tensor, in row-major order and little-endian as all machines torch runs on."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
