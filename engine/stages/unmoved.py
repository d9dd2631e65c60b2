"""A trial that did not move the model: a setting that is too weak here, however good its method is elsewhere."""

from __future__ import annotations

from unlearn_sweep.engine.store.records import Objective

LEAST_SHARE = 0.02
"""Of the way from the original to gold, by every metric of UE: less is no unlearning."""
LEAST_CHANGE = 1e-7
"""Relative change of the weights that rounding to float32 makes by itself."""


def unmoved_reason(ue: Objective | None, weight_change: float | None) -> str | None:
    """Why a trial is one that did not move the model, with the figures; None where it did, or where nobody can tell.

    Either the weights are the start model's (`weight_change` is relative, None: not known), or no metric of UE that has
    a score went 2% of the way from the original to gold, in either direction.
    """
    weights = "unknown" if weight_change is None else f"{weight_change:.2g}"
    if weight_change is not None and weight_change < LEAST_CHANGE:
        return f"did not move the model: its weights changed by {weights} of their length"
    scored = [part for part in (ue.parts if ue is not None else ()) if part.score is not None]
    ways = [
        abs(part.value - part.original) / abs(part.original - part.gold)
        for part in scored
        if part.value is not None and part.original is not None and part.gold is not None
    ]
    if not ways or max(ways) >= LEAST_SHARE:
        return None
    figures = ", ".join(f"{part.metric} {part.original:.3f} to {part.value:.3f}" for part in scored[:3])
    return (
        f"did not move the model: no metric went {LEAST_SHARE:.0%} of the way from the original to gold ({figures}); "
        f"its weights changed by {weights} of their length. A larger learning rate or strength is needed here"
    )
