"""Detect trials that left the model almost unchanged because their setting is too weak."""

from __future__ import annotations

from unlearn_sweep.engine.store.records import Objective

LEAST_SHARE = 0.02
"""Minimum share of the distance from original to gold in at least one UE metric. Less counts as no unlearning."""
LEAST_CHANGE = 1e-7
"""Relative weight change that rounding to float32 alone can cause."""


def unmoved_reason(ue: Objective | None, weight_change: float | None) -> str | None:
    """Return why a trial did not move the model, with figures; None if it did or if that is unknown.

    A trial did not move the model if the weights are unchanged, or if no scored metric of UE covered 2% of the distance
    from original to gold, in either direction. `weight_change` is the relative change of the weights; None if unknown.
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
