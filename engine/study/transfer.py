"""Whether another sweep's values order settings as this sweep's do: Spearman's rank correlation over common ones."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist, fmean

from unlearn_sweep.engine.search_settings import Configuration, LearntTrial, ObjectiveName, OtherSweep
from unlearn_sweep.engine.store.records import Record, TrialRecord

LEAST_SETTINGS = 3
LEVEL = 0.95


class Transfer(Record):
    """Rank correlation of one objective between another sweep and this one.

    Attributes:
        sweep: Name of the other sweep.
        objective: "ue", "ut" or "rob".
        settings: Number of settings (method and all parameters) with a value of the objective in both sweeps.
        correlation: Spearman's rho in [-1, 1]; None if `reason` says why.
        low, high: Ends of its 95% interval; None without a correlation, with fewer than 4 settings, and at
            rho 1 or -1.
        reason: Why there is no correlation.
    """

    sweep: str
    objective: ObjectiveName
    settings: int
    correlation: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def transfers(
    others: Sequence[OtherSweep], records: Iterable[TrialRecord], objectives: Sequence[ObjectiveName]
) -> list[Transfer]:
    """Return one line for each other sweep and objective. A setting tried more than once counts with its mean."""
    own = measured(records)
    found = []
    for other in others:
        for objective in objectives:
            theirs, ours = _means(other.trials, objective), _means(own, objective)
            pairs = [(theirs[setting], ours[setting]) for setting in theirs if setting in ours]
            found.append(transfer(other.name, objective, pairs))
    return found


def measured(records: Iterable[TrialRecord]) -> list[LearntTrial]:
    """Return the complete trials with all their parameters and those objectives that were measured.

    A Rob that is a bound is no value.
    """
    found = []
    for record in records:
        if record.state == "complete":
            given: dict[ObjectiveName, float | None] = {"ue": record.ue, "ut": record.ut}
            given["rob"] = record.rob if record.attacks and not record.rob_is_bound else None
            values: dict[ObjectiveName, float] = {name: value for name, value in given.items() if value is not None}
            found.append(LearntTrial(method=record.method, params=record.params, values=values))
    return found


def transfer(sweep: str, objective: ObjectiveName, pairs: Sequence[tuple[float, float]]) -> Transfer:
    """Return the correlation over pairs (value there, value here) of common settings."""
    import numpy as np
    from scipy.stats import rankdata

    line = Transfer(sweep=sweep, objective=objective, settings=len(pairs))
    if len(pairs) < LEAST_SETTINGS:
        return line.model_copy(update={"reason": f"fewer than {LEAST_SETTINGS} settings have a value in both sweeps"})
    theirs, ours = ([pair[side] for pair in pairs] for side in (0, 1))
    if len(set(theirs)) == 1 or len(set(ours)) == 1:
        return line.model_copy(update={"reason": "all values of one sweep are equal"})
    rho = float(np.corrcoef(rankdata(theirs), rankdata(ours))[0, 1])  # ties have their mean rank
    low, high = interval(rho, len(pairs))
    return line.model_copy(update={"correlation": rho, "low": low, "high": high})


def interval(rho: float, settings: int) -> tuple[float | None, float | None]:
    """Return the 95% interval by Fisher's z with Bonett and Wright's variance (1 + rho^2 / 2) / (n - 3).

    Return (None, None) where it does not exist: fewer than 4 settings, or rho 1 or -1.
    """
    if settings <= LEAST_SETTINGS or math.isclose(abs(rho), 1.0):
        return None, None
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt((1 + rho**2 / 2) / (settings - 3))
    return math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)


def _means(trials: Iterable[LearntTrial], objective: ObjectiveName) -> Mapping[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        if trial.values is not None and objective in trial.values:
            values[_setting(trial)].append(trial.values[objective])
    return {setting: fmean(found) for setting, found in values.items()}


def _setting(trial: Configuration) -> str:
    return json.dumps([trial.method, trial.params], sort_keys=True)
