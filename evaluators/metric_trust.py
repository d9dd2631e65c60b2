"""Does a metric tell models that know the forget rows from models that never saw them?

Source: the meta-evaluation of OpenUnlearning (Dorna et al. 2025, arXiv 2506.12618), which calls it faithfulness.
Interval: Newcombe, Statistics in Medicine 25 (2006) 559, method 5, which has a width even where the pools are apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

Z_95 = 1.959963984540054
"""Quantile of the normal distribution for a two-sided interval of 95 %."""
STEPS = 60
"""Bisections: 2**-60 is below the spacing of floats near 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How well a metric separates two pools of models.

    `auc` in [0, 1]: probability that of one model from each pool the one that knows has the value that tells of
    knowledge; ties count half, 0.5 is chance. `low` and `high`: its 95 % interval. `gap`: difference of the pools'
    means in pooled standard deviations, above 0 in the right direction; None if no model differs from its pool.
    """

    auc: float
    low: float
    high: float
    gap: float | None


def trust(knowing: Sequence[float], ignorant: Sequence[float], *, higher_knows: bool) -> Trust | None:
    """Compare the values of a metric in both pools; None where a pool has fewer than two values."""
    if min(len(knowing), len(ignorant)) < 2:
        return None
    sign = 1.0 if higher_knows else -1.0
    wins = sum(0.5 + 0.5 * _sign(sign * (known - other)) for known in knowing for other in ignorant)
    auc = wins / (len(knowing) * len(ignorant))
    low, high = auc_interval(auc, len(knowing), len(ignorant))
    return Trust(auc=auc, low=low, high=high, gap=_gap(knowing, ignorant, sign))


def _gap(knowing: Sequence[float], ignorant: Sequence[float], sign: float) -> float | None:
    squares = sum(variance(pool) * (len(pool) - 1) for pool in (knowing, ignorant))
    pooled = math.sqrt(squares / (len(knowing) + len(ignorant) - 2))
    return sign * (fmean(knowing) - fmean(ignorant)) / pooled if pooled else None


def auc_interval(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    """Return the limits of the true areas at which the measured one is 1.96 standard errors away."""

    def distance(area: float) -> float:
        return abs(auc - area) - Z_95 * _standard_error(area, positives, negatives)

    return _crossing(distance, auc, 0.0), _crossing(distance, auc, 1.0)


def _standard_error(area: float, positives: int, negatives: int) -> float:
    """Hanley and McNeil's standard error of an area, with both pools taken at their mean size."""
    mean_size = (positives + negatives) / 2
    spread = (1 - area) / (2 - area) + area / (1 + area)
    return math.sqrt(area * (1 - area) * (1 + (mean_size - 1) * spread) / (positives * negatives))


def _crossing(distance: Callable[[float], float], inside: float, outside: float) -> float:
    """Return where `distance` changes sign between a point of the interval and an end of [0, 1]."""
    if inside == outside:
        return outside
    for _ in range(STEPS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if distance(middle) <= 0 else (inside, middle)
    return (inside + outside) / 2


def _sign(value: float) -> float:
    return float((value > 0) - (value < 0))
