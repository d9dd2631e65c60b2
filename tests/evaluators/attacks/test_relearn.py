"""Relearning brings forgotten answers back on a private copy, and scores only what it did not train on."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from torch import nn

from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll, encode_rows
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves
from unlearn_sweep.evaluators.attacks.relearn import relearning_rows


def weight_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def probability(target: Target, state: Attacked, groups: frozenset[str]) -> float:
    rows = [row for row in target.benchmark.train["forget"] if row.group_id in groups]
    return float(
        torch.exp(
            -torch.tensor(answer_nll(state.model, encode_rows(target.tokenizer, rows, target.benchmark.template)))
        ).mean()
    )


@pytest.mark.parametrize("extra", [{"learning_rate": 5e-4}, {"learning_rate": 1e-3, "lora_rank": 4}])
def test_probability_of_trained_facts_rises_with_steps_and_the_target_stays(
    target: Target, extra: dict[str, float]
) -> None:
    before, halves = weight_hash(target.model), forget_halves(target.benchmark)
    attack = build("relearn", {"steps": [0, 4, 8, 16], "batch_size": 12, **extra})
    curve = []
    for state in attack.run(target):
        assert state.unit == "steps"
        assert state.scored_groups == halves.scored
        curve.append((state.strength, probability(target, state, halves.seen)))
    assert [strength for strength, _ in curve] == [0, 4, 8, 16]
    values = [value for _, value in curve]
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.05
    assert weight_hash(target.model) == before


def test_facts_never_shown_come_back_too(target: Target) -> None:
    """The model still holds what gradient ascent suppressed: that is what relearning tests."""
    halves = forget_halves(target.benchmark)
    start, end = (
        probability(target, state, halves.scored)
        for state in build("relearn", {"steps": [0, 4], "learning_rate": 5e-4, "batch_size": 12}).run(target)
    )
    assert end > start + 0.02


def test_notes_hold_first_and_last_loss(target: Target) -> None:
    (state,) = build("relearn", {"steps": 8, "learning_rate": 1e-3, "batch_size": 12}).run(target)
    assert state.notes is not None
    assert state.notes["train_nll_last_step"] < state.notes["train_nll_first_step"]
    assert state.notes["relearned_rows"] == 12


def test_a_view_without_forget_facts_leaves_all_to_score(target: Target) -> None:
    rows, scored = relearning_rows(target.benchmark, "related")
    assert {row.split for row in rows} == {"related"}
    assert scored is None


def test_a_view_that_shares_facts_takes_them_out_of_scoring(target: Target) -> None:
    shared = list(target.benchmark.train["forget"][:2])
    benchmark = replace(target.benchmark, train={**target.benchmark.train, "related": shared})
    _, scored = relearning_rows(benchmark, "related")
    assert scored is not None
    assert scored == {row.group_id for row in benchmark.evaluation["forget"]} - {shared[0].group_id}


def test_a_view_with_every_forget_fact_is_refused(target: Target) -> None:
    benchmark = replace(target.benchmark, train={**target.benchmark.train, "all": target.benchmark.train["forget"]})
    with pytest.raises(AttackError, match="holds every forget fact"):
        relearning_rows(benchmark, "all")


def test_unknown_and_empty_views_are_refused(target: Target) -> None:
    with pytest.raises(
        AttackError, match=r"'medical' is no training view of toy; there are \['forget', 'related', 'retain'\]"
    ):
        relearning_rows(target.benchmark, "medical")
    benchmark = replace(target.benchmark, train={**target.benchmark.train, "related": []})
    with pytest.raises(AttackError, match="'related' of toy is empty"):
        relearning_rows(benchmark, "related")
