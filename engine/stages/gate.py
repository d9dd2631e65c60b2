"""Gates before each attack: a model that lost its utility, or that misses a constraint, is not attacked further."""

from __future__ import annotations

from collections.abc import Mapping

from unlearn_sweep.engine.search_settings import OBJECTIVE_NAMES, ObjectiveName
from unlearn_sweep.engine.store.records import Objective

COLLAPSED_UT = 0.05


def missed_constraints(
    values: Mapping[ObjectiveName, float | None], minimum: Mapping[ObjectiveName, float]
) -> str | None:
    """Return which minimum values the objectives miss, or None if they miss none.

    An upper bound of Rob may stand in for Rob: if the bound is below the minimum, so is Rob.
    """
    missed = []
    for name, least in minimum.items():
        value = values[name]
        if value is None:
            missed.append(f"{OBJECTIVE_NAMES[name]} has no value; the constraint is at least {least:g}")
        elif value < least:
            missed.append(f"{OBJECTIVE_NAMES[name]} {value:.4g} is below {least:g}")
    return "; ".join(missed) or None


def collapse_reason(ut: Objective | None) -> str | None:
    """Return why a trial ends before its attacks, or None if it continues. Scores measured so far are kept.

    A model below 5% of the original's utility has collapsed; attacks on it tell nothing about forgetting.
    """
    if ut is None:
        return "utility was not measured"
    if ut.value is None:
        return f"utility has no value: {ut.reason}"
    if ut.value < COLLAPSED_UT:
        return f"UT {ut.value:.3f} is below {COLLAPSED_UT}: the model has lost its utility"
    return None
