"""Three trials to look at first, chosen from the front by rules that a person can check by eye."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import harmonic_mean

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.store.records import TrialRecord

UTILITY_FLOORS = (0.8, 0.5)
WANTED = 3


class Pick(BaseModel):
    """One recommended trial and the rules that it won, in plain words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    number: int
    roles: list[str]


def pick_trials(front: Sequence[TrialRecord], objectives: Sequence[str] = ("ue", "ut", "rob")) -> list[Pick]:
    """At most three distinct trials: the balanced one, the most robust, the most forgetful, then the next balanced.

    "Balanced" is the highest harmonic mean of the objectives: one bad objective cannot be bought off by good ones. The
    other two look among trials with UT of at least 0.8 first, then 0.5, then all, and their role says which. Ties go to
    the higher balance, then to the lower number. Trials that lack an objective are no candidates.
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


def balance(values: Iterable[float | None]) -> float:
    """Harmonic mean of a trial's objectives: 0 where one of them is 0 or missing."""
    return harmonic_mean([max(0.0, value or 0.0) for value in values])


def values_of(trial: TrialRecord, objectives: Sequence[str]) -> list[float | None]:
    """A trial's objectives by name."""
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
