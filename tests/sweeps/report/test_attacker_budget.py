"""What is forgotten against an attacker's budget. Oracles: all subsets counted out, and values by hand."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import pytest

from tests.sweeps.report.written_sweep import controls, trial
from unlearn_sweep.engine.store.records import AttackPoint, AttackScore, Controls, Normalised, Objective, TrialRecord
from unlearn_sweep.sweeps.report.attacker_budget import BudgetCurve, budget_curves, expected_least
from unlearn_sweep.sweeps.report.attacker_parts import attacker_section

NAMES = ("relearn-search-01", "relearn-search-02")
ATTACKS: list[dict[str, Any]] = [
    {"label": name, "searched": {"label": "relearn-search", "utility_floor": 0.8, "values": {"learning_rate": rate}}}
    for name, rate in zip(NAMES, (1e-5, 1e-4), strict=True)
] + [{"label": "quantize", "searched": None}]


def point(value: float, utility: float) -> AttackPoint:
    return AttackPoint(strength=5, unit="steps", still_forgotten=0.5, utility=utility, metrics={"probability": value})


def models() -> Controls:
    """Original .9 and gold .1 before an attack. Under setting 2 gold relearns to .5; setting 1 breaks the original."""
    both = controls()
    original = {NAMES[0]: [point(0.3, 0.2)], NAMES[1]: [point(0.9, 1.0)]}
    gold = {NAMES[0]: [point(0.1, 1.0)], NAMES[1]: [point(0.5, 1.0)]}
    return both.model_copy(
        update={
            "original": both.original.model_copy(update={"attacks": original, "ut": 1.0}),
            "gold": both.gold.model_copy(update={"attacks": gold, "ut": 1.0}),
        }
    )


def attacked_trial(*, skipped: bool = False) -> TrialRecord:
    """Before an attack it says .2 of the answers; setting 1 brings .6 back, setting 2 .8 but breaks it."""
    part = Normalised(metric="probability", split="forget", group="g", value=0.2, original=0.9, gold=0.1, score=0.9)
    scores = [
        AttackScore(attack=NAMES[0], family="relearn", searched="relearn-search", value=0.4, curve=(point(0.6, 0.9),)),
        AttackScore(
            attack=NAMES[1],
            family="relearn",
            searched="relearn-search",
            value=None if skipped else 0.8,
            skipped=skipped,
            curve=() if skipped else (point(0.8, 0.5),),
        ),
    ]
    detail = Objective(value=0.875, parts=(part,))
    return trial(3).model_copy(update={"ut": 1.0, "ue_detail": detail, "attacks": scores})


def by_model(found: list[BudgetCurve]) -> dict[str, BudgetCurve]:
    return {curve.model: curve for curve in found}


@pytest.mark.parametrize("values", [[0.3], [0.5, 0.1, 0.9], [0.2, 0.2, 0.7, 0.0, 1.0]])
def test_the_expected_least_is_the_mean_over_all_choices(values: list[float]) -> None:
    found = expected_least(values)
    for k in range(1, len(values) + 1):
        by_hand = statistics.fmean(min(chosen) for chosen in itertools.combinations(values, k))
        assert found[k - 1] == pytest.approx(by_hand)


def test_trial_original_and_gold_are_on_one_scale() -> None:
    """Trial: (.9 - .6) / .8 = .375 at setting 1, and .875 as it is for setting 2. Gold: 1, and .5 at setting 2."""
    found = by_model(budget_curves([attacked_trial()], models(), ATTACKS))
    assert found["trial 3"].forgotten == pytest.approx([(0.375 + 0.875) / 2, 0.375])
    assert (found["trial 3"].worst, found["trial 3"].setting) == (NAMES[0], {"learning_rate": 1e-5})
    assert found["gold"].forgotten == pytest.approx([0.75, 0.5])
    assert found["gold"].worst == NAMES[1]
    assert found["original"].forgotten == pytest.approx([0.0, 0.0])
    assert found["original"].worst is None


def test_a_trial_whose_settings_did_not_all_run_has_no_curve() -> None:
    found = by_model(budget_curves([attacked_trial(skipped=True)], models(), ATTACKS))
    assert set(found) == {"original", "gold"}


def test_nothing_is_shown_without_a_searched_attacker_or_controls() -> None:
    assert budget_curves([attacked_trial()], models(), ATTACKS[2:]) == []
    assert budget_curves([attacked_trial()], None, ATTACKS) == []
    assert attacker_section([]) == ""


def test_the_page_names_the_worst_setting_and_draws_every_model() -> None:
    text = attacker_section(budget_curves([attacked_trial()], models(), ATTACKS))
    assert text.count("<polyline") == 3
    assert "relearn-search-01" in text
    assert "learning_rate 1e-05" in text
    assert "none: left as it is" in text
