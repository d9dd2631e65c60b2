"""Does what a metric says last when an unlearned model is relearned or quantised?

Source: the meta-evaluation of OpenUnlearning (Dorna et al. 2025, arXiv 2506.12618). A metric that hides knowledge rises
more under relearning in an unlearned model than in one that never saw the rows, and rises when weights are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DRAWS = 1000
"""Bootstrap draws of models."""
LEAST_MODELS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Knowledge by one metric before and after an attack on one model: 0 or more, higher is more knowledge."""

    before: float
    after: float

    @property
    def rise(self) -> float:
        return self.after - self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """One unlearned model: its own changes, and that of a model that never saw the rows under the same relearning."""

    relearned: Change
    gold_relearned: Change
    quantized: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """How robust a metric is, in [0, 1].

    `relearn` and `quantize` are means over models, `value` is their harmonic mean, and `low` to `high` is its 95 %
    interval over models (percentiles of a bootstrap).
    """

    relearn: float
    quantize: float
    value: float
    low: float
    high: float


def robustness(models: Sequence[Attacked]) -> Robustness | None:
    """Return the robustness of one metric over unlearned models; None with fewer than LEAST_MODELS."""
    import numpy as np

    if len(models) < LEAST_MODELS:
        return None
    each = np.array(
        [[under_relearning(one.relearned, one.gold_relearned), under_rounding(one.quantized)] for one in models]
    )
    relearn, quantize = (float(mean) for mean in each.mean(axis=0))
    places = np.random.default_rng(0).integers(len(each), size=(DRAWS, len(each)))
    drawn = [harmonic_mean(float(one), float(other)) for one, other in each[places].mean(axis=1)]
    low, high = (float(limit) for limit in np.quantile(drawn, (0.025, 0.975)))
    return Robustness(relearn=relearn, quantize=quantize, value=harmonic_mean(relearn, quantize), low=low, high=high)


def under_relearning(unlearned: Change, gold: Change) -> float:
    """Return min(rise of gold / rise of the unlearned model, 1); 1 if the unlearned model does not rise."""
    if unlearned.rise <= 0:
        return 1.0
    return min(max(gold.rise, 0.0) / unlearned.rise, 1.0)


def under_rounding(unlearned: Change) -> float:
    """Return min(before / after, 1); 1 if the value does not rise."""
    return 1.0 if unlearned.rise <= 0 else max(unlearned.before, 0.0) / unlearned.after


def harmonic_mean(one: float, other: float) -> float:
    """Return the harmonic mean of two numbers in [0, 1]; 0 if one of them is 0."""
    return 2 * one * other / (one + other) if one > 0 and other > 0 else 0.0
