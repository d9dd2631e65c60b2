"""Read the JSON files and safetensors headers of a model folder, without loading weights or importing torch."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unlearn_sweep.user_error import UserError

WEIGHTS = "*.safetensors"
WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
HEADER_LIMIT = 100 << 20
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "embeddings.weight")
HEADS = ("lm_head.weight", "embed_out.weight")
DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


class BrokenWeightsError(UserError, ValueError):
    """A file of the model folder is damaged or has the wrong format. The message names the file and the problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Location of one stored tensor: `begin` and `end` are byte offsets in `file`, `end` exclusive."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class ModelFolder:
    """A folder with `config.json` and safetensors files. Files are read on first use and cached."""

    path: Path

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Content of `config.json`; empty if there is none. Raises BrokenWeightsError if it is not a JSON object."""
        return read_json(self.path / "config.json")

    @cached_property
    def text_config(self) -> Mapping[str, Any]:
        """The part of the configuration that describes the language model: `text_config` if present, else all of it."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, dict) else self.config

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """All tensors of all files, by name.

        Raises:
            BrokenWeightsError: if a file is truncated or not safetensors, or the index or one of its files is wrong.
        """
        found: dict[str, StoredTensor] = {}
        for file in self._weight_files():
            found |= tensors_of(file)
        return found

    def _weight_files(self) -> list[Path]:
        """Return the files that transformers loads: `WHOLE`, else those of the index. Other files are ignored.

        Repositories keep other copies of the weights next to them (`consolidated.safetensors`, an older index).
        """
        index = self.path / INDEX
        if (self.path / WHOLE).is_file():
            return [self.path / WHOLE]
        if not index.is_file():
            return sorted(self.path.glob(WEIGHTS))
        listed = read_json(index).get("weight_map")
        if not isinstance(listed, dict):
            raise BrokenWeightsError(f"{INDEX} has no weight_map")
        files = sorted({str(name) for name in listed.values()})
        absent = [name for name in files if not (self.path / name).is_file()]
        if absent:
            raise BrokenWeightsError(f"{INDEX} names {len(absent)} files that are not here: {', '.join(absent[:3])}")
        return [self.path / name for name in files]

    @property
    def depth(self) -> int | None:
        """Number of blocks by the configuration, or None if unknown."""
        return next((int(self.text_config[name]) for name in DEPTHS if name in self.text_config), None)

    @property
    def embedding_rows(self) -> int | None:
        """Number of rows of the input embedding, from its tensor or else the configuration; None if unknown."""
        tensor = self.ending(EMBEDDINGS)
        if tensor is not None and len(tensor.shape) == 2:
            return tensor.shape[0]
        size = self.text_config.get("vocab_size")
        return size if isinstance(size, int) else None

    def ending(self, names: tuple[str, ...]) -> StoredTensor | None:
        """Return the tensor whose name equals or ends with one of `names` (earlier names first), or None."""
        for wanted in names:
            for name, tensor in self.tensors.items():
                if name == wanted or name.endswith(f".{wanted}"):
                    return tensor
        return None


def tensors_of(file: Path) -> dict[str, StoredTensor]:
    """Return the tensors in the header of one safetensors file, by name.

    Raises:
        BrokenWeightsError: if the file is not safetensors or is truncated.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else HEADER_LIMIT + 1
        if length > min(HEADER_LIMIT, size):
            raise BrokenWeightsError(f"{file.name} is no safetensors file, or is cut off ({size:,} bytes)")
        try:
            header = json.loads(stream.read(length))
            found = {name: _stored(file, entry, 8 + length) for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenWeightsError(f"{file.name} is no safetensors file: its header cannot be read") from error
    wanted = max((tensor.end for tensor in found.values()), default=8 + length)
    if wanted > size:
        raise BrokenWeightsError(f"{file.name} is cut off: {size:,} bytes of {wanted:,}")
    return found


def _stored(file: Path, entry: Mapping[str, Any], offset: int) -> StoredTensor:
    begin, end = entry["data_offsets"]
    shape = tuple(int(length) for length in entry["shape"])
    return StoredTensor(file=file, dtype=str(entry["dtype"]), shape=shape, begin=offset + begin, end=offset + end)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file does not exist. Raise BrokenWeightsError if it is anything else."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenWeightsError(f"{file.name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise BrokenWeightsError(f"{file.name} holds no JSON object")
    return found
