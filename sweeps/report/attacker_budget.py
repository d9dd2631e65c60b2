"""What is still forgotten against the number of settings a searched attacker tries, for trials, original and gold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.store.records import AttackPoint, Controls, TrialRecord

MOST_TRIALS = 12


class BudgetCurve(BaseModel):
    """One model under one searched attacker.

    Attributes:
        attacker: label of the attacker.
        model: "trial 7", "original" or "gold".
        trial: number of the trial; None for a control.
        forgotten: what is expected to be left after 1, 2, ... settings, the mean over all their orders. 0 is the
            original and 1 the gold model, both before any attack, so that all models are on one scale. Search half.
        worst: label of the setting that left least; None if no setting did better than leaving the model as it is.
        setting: the searched parameters of that setting.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    attacker: str
    model: str
    trial: int | None
    forgotten: list[float]
    worst: str | None
    setting: dict[str, Any]


def budget_curves(
    trials: Sequence[TrialRecord], controls: Controls | None, attacks: Sequence[Mapping[str, Any]]
) -> list[BudgetCurve]:
    """Return a curve for each attacker and each of the first 12 trials whose settings all ran, and for both controls.

    `attacks` are those of the job, as plain JSON. Empty without controls, searched attackers or comparable metrics.
    """
    found: list[BudgetCurve] = []
    if controls is None:
        return found
    for label, settings in _attackers(attacks).items():
        anchors = next((anchors for trial in trials if (anchors := _anchors(trial))), {})
        if not anchors:
            continue
        floor = settings[0]["searched"]["utility_floor"]
        names = [setting["label"] for setting in settings]
        values = {setting["label"]: setting["searched"]["values"] for setting in settings}
        for model in (controls.original, controls.gold):
            points = {name: model.attacks.get(name, []) for name in names}
            start = 0.0 if model.model == "original" else 1.0
            left = {name: _left(points[name], start, floor, model.ut, anchors) for name in names}
            found.append(_curve(label, model.model, None, left, start, values))
        for trial in trials[:MOST_TRIALS]:
            done = {score.attack: score.curve for score in trial.attacks if not score.skipped}
            start = _forgotten(_own(trial), anchors)
            if start is None or not all(name in done for name in names):
                continue
            left = {name: _left(done[name], start, floor, trial.ut, anchors) for name in names}
            found.append(_curve(label, f"trial {trial.number}", trial.number, left, start, values))
    return found


def expected_least(values: Sequence[float]) -> list[float]:
    """Return the mean of the least of k values, over all choices of k of them, for k = 1 ... n.

    With values sorted, the i-th is the least of C(n - i, k - 1) of the C(n, k) choices.
    """
    ordered, count = sorted(values), len(values)
    return [
        sum(value * math.comb(count - place - 1, k - 1) for place, value in enumerate(ordered)) / math.comb(count, k)
        for k in range(1, count + 1)
    ]


def _attackers(attacks: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for attack in attacks:
        if attack.get("searched"):
            found.setdefault(str(attack["searched"]["label"]), []).append(attack)
    return found


def _anchors(trial: TrialRecord) -> dict[str, tuple[float, float]]:
    """Return what original and gold measure before any attack, for the metrics that count for UE."""
    parts = trial.ue_detail.parts if trial.ue_detail is not None else ()
    return {
        part.metric: (part.original, part.gold)
        for part in parts
        if part.score is not None and part.original is not None and part.gold is not None and part.original != part.gold
    }


def _own(trial: TrialRecord) -> dict[str, float]:
    parts = trial.ue_detail.parts if trial.ue_detail is not None else ()
    return {part.metric: part.value for part in parts if part.value is not None}


def _forgotten(metrics: Mapping[str, float], anchors: Mapping[str, tuple[float, float]]) -> float | None:
    """Return the mean over metrics of the way from original (0) to gold (1), cut to that range; None without any."""
    shares = [
        min(1.0, max(0.0, (original - metrics[name]) / (original - gold)))
        for name, (original, gold) in anchors.items()
        if name in metrics
    ]
    return sum(shares) / len(shares) if shares else None


def _left(
    points: Sequence[AttackPoint],
    start: float,
    floor: float,
    utility: float | None,
    anchors: Mapping[str, tuple[float, float]],
) -> float:
    """Return what a setting leaves: the least of its states that keep the utility, and of leaving the model alone."""
    least = 0.0 if utility is None else floor * utility
    kept = [p for p in points if p.strength > 0 and p.utility is not None and p.utility >= least]
    kept += [p for p in points if p.strength > 0 and p.utility is None]  # the prompts changed, not the model
    values = [_forgotten(point.metrics, anchors) for point in kept]
    return min([start, *(value for value in values if value is not None)])


def _curve(
    attacker: str,
    model: str,
    trial: int | None,
    left: Mapping[str, float],
    start: float,
    values: Mapping[str, dict[str, Any]],
) -> BudgetCurve:
    worst = min(left, key=lambda name: left[name])
    beaten = left[worst] < start
    return BudgetCurve(
        attacker=attacker,
        model=model,
        trial=trial,
        forgotten=expected_least(list(left.values())),
        worst=worst if beaten else None,
        setting=values[worst] if beaten else {},
    )
