"""Directional ablation: nothing is left along the direction, a zero direction does nothing, weights and hooks agree."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaForCausalLM

from tests.evaluators.attacks.toy_world import same_weights
from unlearn_sweep.evaluators.attacks.abliterate import (
    mean_states,
    project_outputs,
    project_weights,
    unit,
    without_direction,
)
from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.model_parts import decoder_layers

IDS = torch.tensor([[5, 9, 13, 40, 41, 7]])
vectors = st.lists(st.floats(-3, 3, width=16), min_size=4, max_size=4).map(torch.tensor)


@given(states=st.lists(vectors, min_size=1, max_size=3).map(torch.stack), direction=vectors)
def test_nothing_is_left_along_a_direction_and_the_rest_is_untouched(states: Tensor, direction: Tensor) -> None:
    along = unit(direction)
    left = without_direction(states, along)
    assert (left @ along).abs().max() < 1e-5
    torch.testing.assert_close(left + (states @ along)[:, None] * along, states, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(without_direction(left, along), left, atol=1e-5, rtol=1e-5)


def test_hooked_outputs_have_no_part_along_the_direction(original: LlamaForCausalLM) -> None:
    model, direction = copy.deepcopy(original), unit(torch.linspace(-1, 1, 48))
    project_outputs(model, {1: direction})
    caught: list[Tensor] = []
    decoder_layers(model)[0].register_forward_hook(
        lambda _module, _inputs, output: caught.append(cast("Tensor", output))
    )
    changed = model(IDS).logits
    assert (caught[0] @ direction).abs().max() < 1e-5
    assert not torch.allclose(changed, original(IDS).logits)


def test_a_zero_direction_leaves_logits_bit_for_bit(original: LlamaForCausalLM) -> None:
    hooked, edited = copy.deepcopy(original), copy.deepcopy(original)
    project_outputs(hooked, {1: torch.zeros(48), 2: torch.zeros(48)})
    project_weights(edited, torch.zeros(48))
    assert torch.equal(hooked(IDS).logits, original(IDS).logits)
    assert same_weights(edited, original)


@pytest.mark.parametrize("tied", [False, True])
def test_weights_without_the_direction_equal_hooks_on_everything_that_writes(
    original: LlamaForCausalLM, tied_model: LlamaForCausalLM, tied: bool
) -> None:
    """Oracle: the same projection as a hook on the output of the embedding and of every o_proj and down_proj."""
    model = tied_model if tied else original
    direction = unit(torch.linspace(-1, 2, 48))
    hooked, edited = copy.deepcopy(model), copy.deepcopy(model)
    project_weights(edited, direction)
    for name, module in hooked.named_modules():
        if name.endswith(("embed_tokens", "o_proj", "down_proj")):
            module.register_forward_hook(lambda _m, _i, output: without_direction(output, direction))
    torch.testing.assert_close(edited(IDS).logits, hooked(IDS).logits, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(edited(IDS).logits, model(IDS).logits, atol=1e-3)


def test_a_tied_model_without_the_direction_is_saved_as_it_is(tied_model: LlamaForCausalLM, tmp_path: Path) -> None:
    project_weights(tied_model, unit(torch.linspace(-1, 2, 48)))
    tied_model.save_pretrained(tmp_path)
    assert torch.equal(LlamaForCausalLM.from_pretrained(tmp_path)(IDS).logits, tied_model(IDS).logits)


def test_mean_states_are_those_of_the_answer_positions(target: Target) -> None:
    """Oracle: one unpadded sequence at a time, the library's hidden states (not the last layer's: those are normed)."""
    examples = encode_rows(target.tokenizer, target.benchmark.train["forget"][:5], target.benchmark.template)
    states = []
    for example in examples:
        ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
        with torch.no_grad():
            hidden = target.model(ids, output_hidden_states=True).hidden_states[1]
        states.append(hidden[0, len(example.prompt_ids) - 1 : -1])
    found = mean_states(target.model, examples, batch_size=2)
    assert found.shape == (2, 48)
    torch.testing.assert_close(found[0], torch.cat(states).mean(0), atol=1e-5, rtol=1e-4)


def test_the_original_against_itself_is_an_identity(target: Target, original: LlamaForCausalLM) -> None:
    itself = replace(target, model=copy.deepcopy(original), original=lambda: original)
    (state,) = build("abliterate", {"reference": "original"}).run(itself)
    assert state.notes == {"zero_directions": 2.0}
    assert torch.equal(state.model(IDS).logits, original(IDS).logits)


def test_states_say_how_many_directions_they_take_out(target: Target) -> None:
    (hooked,) = build("abliterate", {}).run(target)
    (edited,) = build("abliterate", {"where": "weights"}).run(target)
    assert (hooked.strength, edited.strength, hooked.unit) == (2, 1, "directions")
    assert edited.notes is not None
    best = edited.notes["layer"]
    assert edited.notes[f"selection_nll.layer_{best:g}"] == min(
        value for key, value in edited.notes.items() if key.startswith("selection_nll")
    )


def test_missing_original_and_missing_layer_are_refused(target: Target) -> None:
    with pytest.raises(AttackError, match="needs the original model"):
        list(build("abliterate", {"reference": "original"}).run(replace(target, original=None)))
    with pytest.raises(AttackError, match="there is no layer 9"):
        list(build("abliterate", {"layers": [9]}).run(target))


def test_a_model_that_norms_what_it_writes_is_refused_for_weights() -> None:
    config = Gemma2Config(
        vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        model = Gemma2ForCausalLM(config)
    with pytest.raises(AttackError, match="use where: activations"):
        project_weights(model, torch.zeros(16))
