"""A model folder by its headers: a configuration, one weight file and a tokenizer, written without a model library."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

TINY = {"hidden_size": 2, "intermediate_size": 3, "num_attention_heads": 1, "num_key_value_heads": 1}
BLOCK_SHAPES = {
    "input_layernorm": [2],
    "post_attention_layernorm": [2],
    **{f"self_attn.{name}_proj": [2, 2] for name in "qkvo"},
    "mlp.gate_proj": [3, 2],
    "mlp.up_proj": [3, 2],
    "mlp.down_proj": [2, 3],
}
TINY_SHAPES = {
    "model.embed_tokens.weight": [4, 2],
    **{f"model.layers.0.{name}.weight": shape for name, shape in BLOCK_SHAPES.items()},
    "model.norm.weight": [2],
}
"""All weights of a Llama with one block of width 2 and a tied head."""


def write_safetensors(file: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """Float32 zeros of these shapes, as a safetensors file."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(end))


def write_model_folder(folder: Path) -> Path:
    """The smallest folder that can be loaded: a Llama of zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "llama", "num_hidden_layers": 1, "vocab_size": 4, "tie_word_embeddings": True, **TINY}
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors", TINY_SHAPES)
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": []}))
    return folder
