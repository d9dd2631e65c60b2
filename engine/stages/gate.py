"""The gate between evaluation and attacks: a model that answers nothing any more is not worth attacking."""

from __future__ import annotations

from unlearn_sweep.engine.store.records import Objective

COLLAPSED_UT = 0.05


def collapse_reason(ut: Objective | None) -> str | None:
    """Why a trial ends here with its honest scores, or None.

    Below 5% of the original's utility nothing is kept; whatever an attack finds then says nothing of forgetting.
    """
    if ut is None:
        return "utility was not measured"
    if ut.value is None:
        return f"utility has no value: {ut.reason}"
    if ut.value < COLLAPSED_UT:
        return f"UT {ut.value:.3f} is below {COLLAPSED_UT}: the model keeps nothing of what it should"
    return None
