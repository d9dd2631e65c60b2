"""Oracles: chances worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support.sweep_folder import trial
from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.engine.stages.attack_order import (
    LEARN_FROM,
    VALUES_KEPT,
    AttackOutlook,
    next_attack,
    outlooks,
    work_of,
)
from unlearn_sweep.engine.store.records import AttackScore


def _attack(label: str, family: str | None = None) -> AttackSettings:
    return AttackSettings(label=label, name="prefill", family=family or label, params={"tokens": [1]})


def _outlook(cost: float, *scores: float) -> AttackOutlook:
    return AttackOutlook(scores=sorted(scores), seen=len(scores), cost=cost)


def _below(threshold: float, scores: Mapping[str, float | None]) -> bool:
    """A trial whose Rob is the plain minimum and that is over at `threshold` or less."""
    return min((value for value in scores.values() if value is not None), default=1.0) <= threshold


A, B = _attack("a"), _attack("b")


@pytest.mark.parametrize(
    ("a", "b", "first"),
    [
        ((1.0, 0.1, 0.1), (1.0, 0.9, 0.9), "a"),  # equal cost: the likelier
        ((1.0, 0.1, 0.9), (9.0, 0.1, 0.1), "a"),  # half the chance at a ninth of the cost
        ((9.0, 0.1, 0.9), (1.0, 0.1, 0.1), "b"),
    ],
)
def test_chance_over_cost_decides(a: tuple[float, ...], b: tuple[float, ...], first: str) -> None:
    outlook = {"a": _outlook(*a), "b": _outlook(*b)}
    for waiting in ([A, B], [B, A]):
        assert next_attack(waiting, [], outlook, lambda scores: _below(0.5, scores)).label == first


def test_where_nothing_could_end_the_trial_the_order_is_the_files() -> None:
    outlook = {"a": _outlook(9.0, 0.9), "b": _outlook(1.0, 0.1)}
    assert next_attack([A, B], [], outlook, lambda scores: False).label == "a"
    assert next_attack([A, B], [], {}, lambda scores: True).label == "a"


def test_a_family_that_ends_trials_only_together_is_seen_together() -> None:
    """Mean of two: either alone leaves (0.1 + 1) / 2 = 0.55, both leave 0.1. The dear single never ends one."""
    pair = [_attack("x", "pair"), _attack("y", "pair")]
    single = _attack("z")
    outlook = {"x": _outlook(2.0, 0.1, 0.1), "y": _outlook(1.0, 0.1, 0.1), "z": _outlook(1.0, 0.9, 0.9)}

    def ends(scores: Mapping[str, float | None]) -> bool:
        together = [1.0 if (value := scores.get(name, 1.0)) is None else value for name in ("x", "y")]
        alone = scores.get("z", 1.0)
        return min(sum(together) / 2, 1.0 if alone is None else alone) <= 0.5

    assert next_attack([single, *pair], [], outlook, ends).label == "y"
    done = [AttackScore(attack="y", family="pair", value=0.1)]
    assert next_attack([single, pair[0]], done, outlook, ends).label == "x"


def test_nothing_is_learnt_from_few_trials_and_never_from_skipped_attacks() -> None:
    a = [AttackScore(attack="a", family="a", value=0.25)]
    skipped = [AttackScore(attack="a", family="a", value=None, skipped=True)]
    few = [trial(number, attacks=a, stage_seconds={"attack:a": 3.0}) for number in range(LEARN_FROM - 1)]
    assert outlooks([*few, trial(50, attacks=skipped)], [A], {"a": 7.0}, timed=True) == {}
    enough = [*few, trial(60, attacks=a, stage_seconds={"attack:a": 0.0})]  # the last one's stage was reused
    found = outlooks([*enough, trial(61, attacks=skipped)], [A], {"a": 7.0}, timed=True)["a"]
    assert (found.seen, found.cost, found.scores) == (LEARN_FROM, 3.0, [0.25] * LEARN_FROM)
    assert outlooks(enough, [A], {"a": 7.0}, timed=False)["a"].cost == 7.0


def test_a_long_history_travels_as_few_numbers_with_its_ends() -> None:
    records = [trial(n, attacks=[AttackScore(attack="a", family="a", value=n / 1000)]) for n in range(1000)]
    found = outlooks(records, [A], {"a": 1.0}, timed=False)["a"]
    assert len(found.scores) == VALUES_KEPT
    assert (found.scores[0], found.scores[-1], found.seen) == (0.0, 0.999, 1000)
    assert found.scores == sorted(found.scores)


def test_work_counts_rows_and_no_time() -> None:
    """Four steps of 8 rows trained (three times a read), 30 rows measured."""
    relearn = AttackSettings(label="r", name="relearn", family="relearn", params={"steps": [4], "batch_size": 8})
    assert work_of(relearn, 30) == 3 * 32 + 30
