"""Soft prompts: only the soft tokens learn, only from one half, and wrong answers are kept as the control."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PromptTuningConfig, get_peft_model
from transformers import LlamaForCausalLM

from tests.evaluators.attacks.toy_world import decoded, make_model
from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll, encode_rows
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.forget_halves import attacked_rows, forget_halves
from unlearn_sweep.evaluators.attacks.soft_prompt import SoftEmbedding, informative, wrong_answers
from unlearn_sweep.evaluators.model_parts import UnsupportedModelError, vocabulary_embedding
from unlearn_sweep.evaluators.rows import Row, encode

IDS = torch.tensor([[5, 9, 13, 40]])


def test_soft_ids_read_soft_rows_and_others_the_vocabulary() -> None:
    base = torch.nn.Embedding(6, 3)
    embedding = SoftEmbedding(base, torch.tensor([2, 4]))
    found = embedding(torch.tensor([[0, 6, 5, 7]]))[0]
    assert torch.equal(found, torch.stack([base.weight[0], base.weight[2], base.weight[5], base.weight[4]]))


def test_logits_and_gradient_are_those_of_pefts_prompt_tuning(original: LlamaForCausalLM) -> None:
    """Oracle: the same five vectors as a virtual prompt of peft's, before texts without a begin-of-text token."""
    owned = copy.deepcopy(original).requires_grad_(False)
    soft = SoftEmbedding(vocabulary_embedding(owned), torch.tensor([9, 17, 23, 4, 8]))
    owned.set_input_embeddings(soft)
    plain: Any = get_peft_model(
        copy.deepcopy(original), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    )
    vectors = plain.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        vectors.copy_(soft.soft)
    ids = torch.randint(3, 100, (3, 11), generator=torch.Generator().manual_seed(0))
    asked = torch.cat([torch.arange(soft.vocabulary, soft.vocabulary + 5).expand(3, -1), ids], dim=1)
    labels = torch.cat([torch.full((3, 5), -100), ids], dim=1)
    with torch.enable_grad():
        ours, theirs = owned(input_ids=asked, labels=labels), plain(input_ids=ids, labels=ids)
        (gradient,) = torch.autograd.grad(ours.loss, [soft.soft])
        (expected,) = torch.autograd.grad(theirs.loss, [vectors])
    torch.testing.assert_close(ours.logits, theirs.logits)
    torch.testing.assert_close(gradient, expected)
    assert expected.abs().max() > 0


def test_no_iterations_are_no_attack(target: Target) -> None:
    (state,) = build("soft_prompt", {"iterations": 0}).run(target)
    assert state.prompt_edit is None
    assert torch.equal(state.model(IDS).logits, target.model(IDS).logits)
    assert state.notes == {
        "right_answer_probability_gain": 0.0,
        "wrong_answer_probability_gain": 0.0,
        "informative": 0.0,
    }


def test_only_the_soft_tokens_change(target: Target) -> None:
    (state,) = build("soft_prompt", {"iterations": 3, "soft_tokens": 4}).run(target)
    before = target.model.state_dict()
    after = state.model.state_dict()
    assert torch.equal(after.pop("model.embed_tokens.base.weight"), before.pop("model.embed_tokens.weight"))
    assert after.pop("model.embed_tokens.soft").shape == (4, 48)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_training_raises_the_half_it_is_trained_on(target: Target) -> None:
    halves = forget_halves(target.benchmark)
    examples = encode_rows(target.tokenizer, attacked_rows(target.benchmark, halves), target.benchmark.template)
    costs = []
    for state in build("soft_prompt", {"iterations": [1, 30], "step_size": 5e-3}).run(target):
        assert state.scored_groups == halves.scored
        assert state.prompt_edit is not None
        edited = [example for example in map(state.prompt_edit, examples) if example is not None]
        costs.append(fmean(answer_nll(state.model, edited)))
    assert costs[1] < costs[0] - 0.05


def test_gains_are_the_change_of_mean_probability(target: Target) -> None:
    (state,) = build("soft_prompt", {"iterations": 2}).run(target)
    halves = forget_halves(target.benchmark)
    rows = [row for row in target.benchmark.evaluation["forget"] if row.group_id in halves.scored]
    plain = encode_rows(target.tokenizer, rows, target.benchmark.template)
    assert state.prompt_edit is not None
    edited = [example for example in map(state.prompt_edit, plain) if example is not None]
    gain = fmean(map(math.exp, (-c for c in answer_nll(state.model, edited)))) - fmean(
        map(math.exp, (-c for c in answer_nll(target.model, plain)))
    )
    assert state.notes is not None
    assert state.notes["right_answer_probability_gain"] == pytest.approx(gain, abs=1e-5)


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [(0.3, 0.1, 1.0), (0.3, 0.3, 0.0), (0.1, 0.3, 0.0), (-0.2, -0.3, 1.0), (0.3, None, 0.0)],
)
def test_an_attack_that_raises_wrong_answers_as_much_is_flagged(
    right: float, wrong: float | None, expected: float
) -> None:
    gains = {"right_answer_probability_gain": right}
    if wrong is not None:
        gains["wrong_answer_probability_gain"] = wrong
    assert informative(gains) == expected


def test_a_model_that_never_learned_the_facts_gains_nothing_on_right_answers(target: Target) -> None:
    """An untrained model: what the soft tokens bring about is no knowledge, so right and wrong answers gain alike."""
    stranger = replace(target, model=make_model(len(target.tokenizer), seed=9))
    for state in build("soft_prompt", {"iterations": [20], "step_size": 1e-2}).run(stranger):
        assert state.notes is not None
        gap = state.notes["right_answer_probability_gain"] - state.notes["wrong_answer_probability_gain"]
        assert abs(gap) < 0.01
        assert state.notes["informative"] == float(gap > 0)


def test_soft_tokens_stand_behind_begin_of_text(chat_target: Target) -> None:
    (state,) = build("soft_prompt", {"iterations": 1, "soft_tokens": 2}).run(chat_target)
    example = encode(chat_target.tokenizer, "r", "What?", "figs", chat_target.benchmark.template)
    assert state.prompt_edit is not None
    edited = state.prompt_edit(example)
    assert edited is not None
    place = edited.prompt_ids.index(len(chat_target.tokenizer))
    assert edited.prompt_ids[place : place + 2] == (len(chat_target.tokenizer), len(chat_target.tokenizer) + 1)
    assert decoded(chat_target, edited.prompt_ids[:place]).startswith("<s>")
    assert edited.prompt_ids[:place] + edited.prompt_ids[place + 2 :] == example.prompt_ids


@given(answers=st.lists(st.sampled_from("abc"), max_size=8))
def test_wrong_answers_are_never_right(answers: list[str]) -> None:
    rows = [Row(row_id=str(i), group_id=str(i), split="s", question="q", answer=a) for i, a in enumerate(answers)]
    wrong = {row.row_id: row.answer for row in wrong_answers(rows)}
    assert all(answers[int(row_id)] != answer for row_id, answer in wrong.items())
    assert len(wrong) == (len(answers) if len(set(answers)) > 1 else 0)


def test_a_broken_model_is_a_reason_not_a_nan(target: Target) -> None:
    broken = copy.deepcopy(target.model)
    with torch.no_grad():
        broken.get_parameter("lm_head.weight").fill_(float("inf"))
    with pytest.raises(ArithmeticError, match="not finite"):
        list(build("soft_prompt", {"iterations": 1}).run(replace(target, model=broken)))


def test_a_second_soft_prompt_on_top_is_refused(target: Target) -> None:
    chain = [{"soft_prompt": {"iterations": 1}}, {"soft_prompt": {"iterations": 1}}]
    with pytest.raises(UnsupportedModelError, match=r"SoftEmbedding, not an nn\.Embedding: put this attack first"):
        list(build("chain", chain).run(target))
