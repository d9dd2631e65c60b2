"""A model cut off behind a layer gives that layer's logit lens; the layer is chosen on facts that are not scored."""

from __future__ import annotations

import copy
from statistics import fmean

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaForCausalLM

from tests.evaluators.attacks.toy_world import same_weights
from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll, encode_rows
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves, seen_rows
from unlearn_sweep.evaluators.generation import generate
from unlearn_sweep.evaluators.model_parts import CutOff, UnsupportedModelError, decoder_layers

IDS = torch.tensor([[5, 9, 13, 40]])


def test_every_cut_equals_norm_and_head_on_that_layers_hidden_state(original: LlamaForCausalLM) -> None:
    """Oracle: the library's hidden states, pushed through final norm and head by hand; the last layer is the model."""
    with torch.no_grad():
        whole = original(IDS, output_hidden_states=True)
        for layer in (1, 2):
            cut = copy.deepcopy(original)
            CutOff(cut).keep(layer)
            states = whole.hidden_states[layer]
            expected = whole.logits if layer == 2 else original.lm_head(original.model.norm(states))
            assert torch.equal(cut(IDS).logits, expected)


def test_all_layers_kept_is_the_target_bit_for_bit(target: Target) -> None:
    (state,) = build("logit_lens", {"layers": [2]}).run(target)
    assert same_weights(state.model, target.model)
    assert torch.equal(state.model(IDS).logits, target.model(IDS).logits)


def test_layer_is_the_best_on_the_attackers_half_and_the_other_half_is_scored(target: Target) -> None:
    halves = forget_halves(target.benchmark)
    examples = encode_rows(target.tokenizer, seen_rows(target.benchmark, halves), target.benchmark.template)
    costs = {}
    for layer in (1, 2):
        cut = copy.deepcopy(target.model)
        CutOff(cut).keep(layer)
        costs[layer] = fmean(answer_nll(cut, examples))
    (state,) = build("logit_lens", {}).run(target)
    assert state.strength == min(costs, key=costs.__getitem__)
    assert state.scored_groups == halves.scored
    assert state.notes == {f"selection_nll.layer_{layer}": pytest.approx(costs[layer]) for layer in (1, 2)}


def test_a_cut_model_generates_with_its_cache() -> None:
    """Layers of different kinds keep their kinds: the cache is laid out by the configuration."""
    config = Gemma2Config(
        vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        model = Gemma2ForCausalLM(config).eval()
    CutOff(model).keep(3)
    done = generate(model, [[5, 9, 13, 40]], max_new_tokens=4, end_ids=frozenset(), pad_id=0)
    ids = IDS
    with torch.no_grad():
        for _ in range(4):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert list(done.tokens[0]) == ids[0, 4:].tolist()


def test_a_layer_beyond_the_last_is_refused(target: Target) -> None:
    with pytest.raises(AttackError, match="2 layers, counted from 1; there is no layer 7"):
        list(build("logit_lens", {"layers": [1, 7]}).run(target))


def test_a_model_without_a_list_of_blocks_is_refused() -> None:
    with torch.random.fork_rng(devices=[]):
        model = torch.nn.Linear(2, 2)
    model.base_model = model  # type: ignore[assignment]
    with pytest.raises(UnsupportedModelError, match="Linear keeps its blocks under none of layers, h, blocks"):
        decoder_layers(model)  # type: ignore[arg-type]
