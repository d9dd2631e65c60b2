"""Gate between evaluation and attacks: a model that lost its utility is not attacked."""

from __future__ import annotations

from unlearn_sweep.engine.store.records import Objective

COLLAPSED_UT = 0.05


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
