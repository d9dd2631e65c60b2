"""Choose up to three trials of the front to recommend, by simple rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import harmonic_mean

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.front_noise import Sample
from unlearn_sweep.sweeps.report.margins import Margin, margin

UTILITY_FLOORS = (0.8, 0.5)
WANTED = 3


class Pick(BaseModel):
    """One recommended trial.

    Attributes:
        roles: the rules that selected it, for display.
        margins: its lead by each rule that it won, best balance first; empty if the draws of the trials are not known.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    key: str
    number: int
    roles: list[str]
    margins: list[Margin] = []


def pick_trials(front: Sequence[TrialRecord], objectives: Sequence[str] = ("ue", "ut", "rob")) -> list[Pick]:
    """Return at most three distinct trials: best balance, highest Rob, highest UE; fill up with the next best balance.

    Balance is the harmonic mean of the objectives, so that good objectives cannot compensate a bad one. Rob and UE are
    compared among trials with UT >= 0.8 only; if there are none, among those with UT >= 0.5, else among all. The role
    names the threshold. Ties are broken by balance, then by the lower number. Trials that lack an objective are
    ignored.
    """
    whole = [trial for trial in front if None not in values_of(trial, objectives)]
    candidates = sorted(whole, key=lambda trial: (-balance(values_of(trial, objectives)), trial.number))
    if not candidates:
        return []
    roles: dict[int, list[str]] = {candidates[0].number: ["best balance"]}
    pool, condition = _with_utility(candidates)
    if "rob" in objectives:
        roles.setdefault(max(pool, key=_rob).number, []).append("most robust" + condition)
    roles.setdefault(max(pool, key=_ue).number, []).append("strongest forgetting" + condition)
    others = [trial.number for trial in candidates if trial.number not in roles]
    roles |= {number: ["next best balance"] for number in others[: WANTED - len(roles)]}
    keys = {trial.number: trial.key for trial in candidates}
    return [Pick(key=keys[number], number=number, roles=won) for number, won in roles.items()]


def with_margins(picks: Sequence[Pick], sample: Sample | None) -> list[Pick]:
    """Return the picks of `pick_trials` with their margins.

    They are compared with all trials that can be on the front: one that is just beaten may be better in truth.
    """
    if sample is None:
        return list(picks)
    candidates = list(sample.trials)
    pool = [trial.number for trial in _with_utility(candidates)[0]]
    compared = {"best balance": [trial.number for trial in candidates], "most robust": pool, "strongest": pool}
    scores = {"best balance": "balance", "most robust": "rob", "strongest": "ue"}
    return [
        pick.model_copy(
            update={
                "margins": [
                    margin(sample, pick.number, compared[rule], score)
                    for rule, score in scores.items()
                    if any(role.startswith(rule) for role in pick.roles)
                ]
            }
        )
        for pick in picks
    ]


def balance(values: Iterable[float | None]) -> float:
    """Return the harmonic mean of a trial's objectives; 0 if one of them is missing, zero or negative."""
    return harmonic_mean([max(0.0, value or 0.0) for value in values])


def values_of(trial: TrialRecord, objectives: Sequence[str]) -> list[float | None]:
    """Return the values of a trial's objectives, in the order of `objectives`."""
    return [getattr(trial, name) for name in objectives]


def _with_utility(candidates: list[TrialRecord]) -> tuple[list[TrialRecord], str]:
    for floor in UTILITY_FLOORS:
        useful = [trial for trial in candidates if trial.ut is not None and trial.ut >= floor]
        if useful:
            return useful, f" with UT of at least {floor:g}"
    return candidates, f" (none keeps a UT of {UTILITY_FLOORS[-1]:g})"


def _rob(trial: TrialRecord) -> float:
    return float("-inf") if trial.rob is None else trial.rob


def _ue(trial: TrialRecord) -> float:
    return float("-inf") if trial.ue is None else trial.ue
