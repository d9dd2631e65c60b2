"""By how much a recommended trial leads the next one by the rule that chose it, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.study.front_noise import Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Margin(BaseModel):
    """The lead of a trial over the next, in the score of one rule.

    Attributes:
        score: "balance" (the harmonic mean of the objectives), "rob" or "ue".
        over: number of the trial that is next best by the draws' mean; None if no other was compared.
        lead: mean difference over the draws, on the values of `front_noise`. Below 0 if the other is better there.
        error: standard deviation of that difference over the draws, which are paired.
        probability: share of the draws in which the trial has the highest score of those compared.
        compared: number of trials compared.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    score: str
    over: int | None
    lead: float | None
    error: float | None
    probability: float
    compared: int


def margin(sample: Sample, number: int, others: Sequence[int], score: str) -> Margin:
    """Return the margin of trial `number` over `others`, by score. All must be in the sample."""
    numbers = [number, *(other for other in others if other != number)]
    scores = drawn_scores(sample, numbers, score)
    first = scores.max(axis=0)
    # Draws in which several are best are shared between them.
    best = (scores == first) / (scores == first).sum(axis=0)
    if len(numbers) == 1:
        return Margin(score=score, over=None, lead=None, error=None, probability=1.0, compared=1)
    rival = 1 + int(scores[1:].mean(axis=1).argmax())
    lead = scores[0] - scores[rival]
    return Margin(
        score=score,
        over=numbers[rival],
        lead=float(lead.mean()),
        error=float(lead.std(ddof=1)),
        probability=float(best[0].mean()),
        compared=len(numbers),
    )


def drawn_scores(sample: Sample, numbers: Sequence[int], score: str) -> NDArray[np.float64]:
    """Return the score of each trial in every draw [trials, draws]: an objective, or "balance"."""
    import numpy as np

    values = np.stack([sample.of(number) for number in numbers])
    if score != "balance":
        return values[..., sample.objectives.index(score)]
    with np.errstate(divide="ignore"):
        return values.shape[-1] / (1.0 / np.maximum(values, 0.0)).sum(axis=-1)


def margin_text(found: Margin) -> str:
    """Format as "leads trial 7 by 0.03 ± 0.02 in balance; the best of 9 in 71% of the draws"."""
    name = {"rob": "Rob", "ue": "UE"}.get(found.score, found.score)
    if found.over is None or found.lead is None or found.error is None:
        return f"no other trial to compare its {name} with"
    verb = "leads" if found.lead >= 0 else "is behind"
    by = f"{verb} trial {found.over} by {abs(found.lead):.3f} \N{PLUS-MINUS SIGN} {found.error:.3f} in {name}"
    return f"{by}; the best of {found.compared} in {100 * found.probability:.3g}% of the draws"
