"""Blocks and matrices of every model class. Oracles: forward passes, counts over parameter names, plain arithmetic."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.support.architectures import CLASSES, small_benchmark, small_model
from unlearn_sweep.engine.models.start_model import train_tokenizer
from unlearn_sweep.evaluators.model_parts import (
    CutOff,
    decoder_layers,
    expert_names,
    is_down_projection,
    linear_matrices,
)

IDS = torch.arange(5, 25)[None]
NOT_BLOCKS = re.compile(
    r"\.gate\.|\.router\.|shared_expert_gate|norm|ln_|embed|wte|wpe|lm_head|embed_out|_bias$"
    r"|vision_tower\.head\.attention\.in_proj|multi_modal_projector"
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(small_benchmark().tokenizer_texts, vocab_size=300)


@pytest.mark.parametrize("name", CLASSES)
def test_every_matrix_of_the_blocks_is_found_once(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Oracle: the parameters of more than one dimension, less those that `NOT_BLOCKS` names."""
    model = small_model(name, tokenizer)
    wanted = {key for key, weight in model.named_parameters() if weight.dim() > 1 and not NOT_BLOCKS.search(key)}
    linear = {key for key, weight in model.named_parameters() if "shared_expert_gate" in key and weight.dim() > 1}
    found = linear_matrices(model, include_lm_head=False)
    assert {matrix.name for matrix in found} == wanted | linear
    for matrix in found:
        weight = model.get_parameter(matrix.name)
        views = matrix.views(weight)
        assert sum(view.numel() for view in views) == weight.numel()
        assert all(view.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr() for view in views)


@pytest.mark.parametrize("name", CLASSES)
def test_a_matrix_is_oriented_out_in(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Oracle: the second matrix of an MLP writes to the residual stream, so it has `hidden_size` rows."""
    model = small_model(name, tokenizer)
    downs = [matrix for matrix in linear_matrices(model, include_lm_head=False) if is_down_projection(matrix.name)]
    assert len(downs) >= len(decoder_layers(model))
    for matrix in downs:
        for view in matrix.views(model.get_parameter(matrix.name)):
            assert view.shape[0] == model.config.get_text_config().hidden_size
            assert view.shape[1] != view.shape[0]


@pytest.mark.parametrize("name", CLASSES)
def test_cutting_off_is_reading_the_stream_behind_a_block(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Oracle: the block's own output; more blocks than before come back whole."""
    model = small_model(name, tokenizer)
    caught: list[Any] = []
    decoder_layers(model)[0].register_forward_hook(lambda *call: caught.append(call[2]))
    owned = copy.deepcopy(model)
    cut = CutOff(owned)
    with torch.no_grad():
        whole = model(IDS, use_cache=False).logits
        cut.keep(1)
        shortened = owned(IDS, use_cache=False).logits  # its block's hook came along with the copy
        first, again = (output[0] if isinstance(output, tuple) else output for output in caught)
        assert torch.equal(first, again)
        assert not torch.allclose(shortened, whole)
        cut.keep(2)
        assert not torch.allclose(owned(IDS).logits, whole)
        cut.keep(3)
        assert torch.equal(owned(IDS, use_cache=False).logits, whole)


def test_experts_are_told_from_convolutions_and_biases(tokenizer: PreTrainedTokenizerFast) -> None:
    assert {name.rpartition(".")[2] for name in expert_names(small_model("mixtral", tokenizer))} == {
        "gate_up_proj",
        "down_proj",
    }
    assert expert_names(small_model("llama", tokenizer)) == []
    assert expert_names(torch.nn.Conv1d(2, 2, 3)) == []


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("mlp.down_proj.weight", True),
        ("mlp.experts.down_proj", True),
        ("fc2.weight", True),
        ("mlp.dense_4h_to_h.bias", True),
        ("mlp.c_proj.weight", True),
        ("attn.c_proj.weight", False),
        ("self_attention.dense.weight", False),
        ("mlp.up_proj.weight", False),
        ("mlp.experts.gate_up_proj", False),
    ],
)
def test_second_matrices_are_known_by_name(name: str, second: bool) -> None:
    assert is_down_projection(name) is second
