"""The size of a model as memory estimates need it, from its folder's configuration or assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.models.headers import BrokenWeightsError, ModelFolder

RESERVE_GIB = 1.5
"""CUDA context, libraries and fragmentation of one process."""
WIDTH_OF_DEPTH = 128
"""Hidden units for each block of a usual decoder, where the model's own shape is unknown."""
ASSUMED_VOCABULARY = 128_256


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Size of a model: parameters, blocks times hidden units, and vocabulary entries."""

    parameters: int
    depth_times_width: float
    vocabulary: int


def shape_of(parameters: int, model: str | None) -> Shape:
    """Return the shape of a model from its folder's configuration, else that of a usual decoder of its size."""
    config: Mapping[str, Any] = {}
    if model is not None and Path(model).is_dir():
        try:
            config = ModelFolder(Path(model)).text_config
        except BrokenWeightsError:
            config = {}
    depth = (parameters / (12 * WIDTH_OF_DEPTH**2)) ** (1 / 3)
    known = config.get("num_hidden_layers"), config.get("hidden_size")
    product = float(known[0] * known[1]) if known[0] and known[1] else WIDTH_OF_DEPTH * depth**2
    vocabulary = int(config.get("vocab_size") or ASSUMED_VOCABULARY)
    return Shape(parameters=parameters, depth_times_width=product, vocabulary=vocabulary)


def stored_parameters(folder: Path) -> int | None:
    """Return the parameter count from the safetensors headers of a folder; None if there are none or one is broken."""
    try:
        tensors = ModelFolder(folder).tensors
    except BrokenWeightsError:
        return None
    return sum(tensor.numbers for tensor in tensors.values()) if tensors else None
