"""The score of a searched attacker. Oracles: numbers by hand, and the minimum over all settings for every order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluators.test_objectives import under_attack
from unlearn_sweep.evaluators.objectives.attacker import worst_kept
from unlearn_sweep.evaluators.objectives.parts import Drawn
from unlearn_sweep.evaluators.objectives.robustness import robustness
from unlearn_sweep.evaluators.scores import AttackScore, AttackTables, Objective

UNTOUCHED = ((Objective(value=0.97, standard_error=0.01), np.full(3, 0.97)), (Objective(value=0.95), np.full(3, 0.95)))


def score(points: list[AttackTables], least: float | None) -> tuple[Drawn[AttackScore], Drawn[AttackScore]]:
    facts = sorted(points[0].unlearned["group_id"].unique())
    halves = frozenset(facts[::2]), frozenset(facts[1::2])
    return worst_kept(points, ["probability"], halves=halves, least_utility=least, untouched=UNTOUCHED)


def states(*pairs: tuple[float, float]) -> list[AttackTables]:
    """States of an attack by what the unlearned model says (gold .1, original .9) and its utility."""
    return [replace(under_attack(n + 1, value), utility=utility) for n, (value, utility) in enumerate(pairs)]


def test_the_worst_state_that_keeps_its_utility_counts() -> None:
    """(.9 - .5) / .8 = .5 at utility .85; .9 would leave nothing but has lost its utility."""
    (found, draws), (unseen, _) = score(states((0.2, 0.95), (0.5, 0.85), (0.9, 0.4)), 0.8)
    assert found.value == pytest.approx(0.5, abs=0.02)
    assert found.worst_strength == 2
    assert draws.mean() == pytest.approx(0.5, abs=0.05)
    assert unseen.value == pytest.approx(0.5, abs=0.02)
    assert found.curve[2].reason == "does not count: its utility is 0.4, below 0.8"
    (free, _), _ = score(states((0.2, 0.95), (0.5, 0.85), (0.9, 0.4)), None)
    assert free.value == pytest.approx(0.0, abs=0.02)


def test_the_state_is_chosen_on_the_search_half_alone() -> None:
    """On the report half another state would be worst: its number there is that of the state chosen."""
    points = states((0.5, 1.0), (0.4, 1.0))
    facts = sorted(points[0].unlearned["group_id"].unique())
    rows = points[1].unlearned
    points[1] = replace(points[1], unlearned=rows.assign(
        probability=np.where(rows["group_id"].isin(facts[1::2]), 0.9, 0.4)))  # fmt: skip
    (found, _), (unseen, _) = score(points, 0.9)
    assert (found.worst_strength, unseen.worst_strength) == (1, 1)
    assert unseen.value == pytest.approx(0.5, abs=0.02)


def test_where_no_state_keeps_utility_the_attacker_leaves_the_model_as_it_is() -> None:
    (found, draws), (unseen, _) = score(states((0.9, 0.1)), 0.8)
    assert (found.value, unseen.value) == (0.97, 0.95)
    assert "leaves the model as it is" in str(found.reason)
    assert draws.tolist() == [0.97] * 3


def test_an_attack_that_makes_a_model_forget_more_is_not_carried_out() -> None:
    """The state leaves 1.0; without an attack .97 are left."""
    (found, _), (unseen, _) = score(states((0.1, 1.0)), 0.8)
    assert (found.value, unseen.value) == (0.97, 0.95)
    assert "left more forgotten" in str(found.reason)


def test_a_setting_under_which_the_controls_are_alike_has_no_score() -> None:
    point = replace(under_attack(5, 0.5, gold=0.899), utility=1.0)
    (found, _), _ = score([point], 0.8)
    assert found.value is None
    assert "gold" in str(found.reason)
    assert not found.worst_strength


FAMILIES = {"r1": "relearn", "r2": "relearn", "r3": "relearn", "plain": "relearn", "int4": "quantize"}
SEARCHED = {"r1": "r", "r2": "r", "r3": "r"}


def test_a_searched_attacker_is_one_attack_of_its_family() -> None:
    """The family's mean is that of .2 (the lowest of three) and .6."""
    found = robustness({"r1": 0.5, "r2": 0.2, "r3": 0.9, "plain": 0.6, "int4": 0.8}, FAMILIES, SEARCHED)
    assert found.families == pytest.approx({"relearn": 0.4, "quantize": 0.8})
    assert found.worst == {"r": "r2"}


@given(
    scores=st.fixed_dictionaries({name: st.one_of(st.none(), st.floats(0, 1)) for name in FAMILIES}),
    order=st.permutations(list(FAMILIES)),
)
def test_each_setting_only_lowers_the_bound(scores: dict[str, float | None], order: list[str]) -> None:
    final = robustness(scores, FAMILIES, SEARCHED)
    previous = 1.0
    for done in range(len(order) + 1):
        found = robustness({name: scores[name] for name in order[:done]}, FAMILIES, SEARCHED)
        if found.value is not None:
            assert found.value <= previous + 1e-12
            assert final.value is None or found.value >= final.value - 1e-12
            previous = found.value
    same = robustness({name: scores[name] for name in order}, FAMILIES, SEARCHED)
    assert (same.value, same.families, same.worst) == (final.value, final.families, final.worst)
