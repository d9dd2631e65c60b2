"""Count the parameters of a model without building or loading it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import ModelSource
from unlearn_sweep.engine.models.model_shape import stored_parameters
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe

# Defaults of transformers' LlamaConfig for missing values.
LLAMA_DEFAULTS = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9])(\d+(?:\.\d+)?)\s?([bBmM])(?![A-Za-z0-9])")


def llama_parameters(config: Mapping[str, Any], vocab_size: int) -> int:
    """Return the parameters of a Llama model. A tied head is counted once."""
    size = {name: int(config.get(name, default)) for name, default in LLAMA_DEFAULTS.items()}
    hidden, heads = size["hidden_size"], size["num_attention_heads"]
    head_dim = int(config.get("head_dim", hidden // heads))
    kv_heads = int(config.get("num_key_value_heads", heads))
    attention = 2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim
    layer = attention + 3 * hidden * size["intermediate_size"] + 2 * hidden
    embeddings = vocab_size * hidden * (1 if config.get("tie_word_embeddings", False) else 2)
    return embeddings + size["num_hidden_layers"] * layer + hidden


def parameters_in_name(name: str) -> int | None:
    """Return the parameter count in a hub id: `Llama-3.2-1B` has about 1e9. None if the id contains none."""
    found = SIZE_IN_NAME.findall(name.rpartition("/")[2])
    if not found:
        return None
    number, letter = found[-1]
    return int(float(number) * (1e9 if letter in "bB" else 1e6))


def parameters_of(source: ModelSource, recipe: TrainRecipe | None) -> int | None:
    """Return the parameters of a sweep's model; None if neither its files nor its hub id give a size."""
    values = source.recipe or {}
    stored = source.path or values.get("base") or (recipe.base if recipe and "config" not in values else None)
    if stored is not None:
        folder = Path(stored)
        return stored_parameters(folder) if folder.is_dir() else parameters_in_name(stored)
    if recipe is None:
        return None
    return llama_parameters(values.get("config") or recipe.config, int(values.get("vocab_size", recipe.vocab_size)))
