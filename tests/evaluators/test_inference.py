"""Batches, padding and modes. Oracles: the definitions, by property and by hand."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.inference import (
    context_tokens,
    end_ids,
    measuring,
    pad_left,
    pad_right,
    padding_id,
    token_batches,
)


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 100))
def test_batches_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = token_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(40, 400))
def test_batches_are_filled_in_order_of_length(lengths: list[int], budget: int) -> None:
    batches = token_batches(lengths, budget)
    ordered = [lengths[index] for batch in batches for index in batch]
    assert ordered == sorted(lengths)
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * lengths[following[0]] > budget, "the next row would still have fitted"


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_tokens is 0"):
        token_batches([3], 0)


def test_padding_by_hand() -> None:
    assert pad_right([(5,), (6, 7, 8)], 2).tolist() == [[5, 2, 2], [6, 7, 8]]
    ids, mask = pad_left([(5,), (6, 7, 8)], 2)
    assert ids.tolist() == [[2, 2, 5], [6, 7, 8]]
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]]


def _stop_inside(model: LlamaForCausalLM) -> None:
    with measuring(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        raise KeyError("stop")


def test_measuring_leaves_every_module_as_it_was_also_on_an_error() -> None:
    model = tiny_models.llama().train()
    frozen = model.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    with pytest.raises(KeyError, match="stop"):
        _stop_inside(model)
    assert [module.training for module in model.modules()] == before
    assert not frozen.training
    assert torch.is_grad_enabled()


def test_end_ids_join_the_tokenizers_and_the_models(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_models.llama()
    model.generation_config = GenerationConfig(eos_token_id=[7, 9])
    assert end_ids(model, tiny_tokenizer) == {1, 7, 9}
    model.generation_config = GenerationConfig(eos_token_id=5)
    assert end_ids(model, tiny_tokenizer) == {1, 5}


def test_context_and_padding_come_from_the_model_and_the_tokenizer(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    assert context_tokens(tiny_model) == 128
    assert context_tokens(tiny_models.gpt2()) == 128
    assert padding_id(tiny_tokenizer) == tiny_tokenizer.pad_token_id
    assert padding_id(cast("Any", SimpleNamespace(pad_token_id=None, eos_token_id=1))) == 1
    assert padding_id(cast("Any", SimpleNamespace(pad_token_id=None, eos_token_id=None))) == 0
