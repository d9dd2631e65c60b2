"""What UE, UT and Rob share: parts of an objective, checks of metrics, and reasons of a missing value.

Objectives are computed from per-row tables. All lie in [0, 1], higher is better. Anchors come from the original and the
gold model, measured on the same rows: the original has UE 0 and UT 1, the gold model UE 1. A number that cannot be had
is None with a reason that names the figures; nothing here is ever NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np

from unlearn_sweep.evaluators.aggregate import Values
from unlearn_sweep.evaluators.catalog import METRICS, metric_card
from unlearn_sweep.evaluators.scores import Normalised

Scored = TypeVar("Scored")
Drawn = tuple[Scored, Values]
"""A score and its value in every bootstrap draw [draws] (empty where it has no value)."""

Weights = Mapping[str, float]
"""Weight of each metric in UE, at least 0. Empty or None where all count the same."""


def check_weights(metrics: Sequence[str], weights: Weights | None) -> None:
    """Raise ValueError if a metric has no weight, or a weight is negative or not finite."""
    if not weights:
        return
    if lost := [name for name in metrics if name not in weights]:
        raise ValueError(f"no weight is given for {', '.join(lost)}; weigh every metric of UE, or none")
    for name in metrics:
        if not 0.0 <= weights[name] < math.inf:
            raise ValueError(f"the weight of {name} is {weights[name]}; it must be at least 0 and finite")


def check_metrics(metrics: Sequence[str], objective: Literal["ue", "ut"]) -> None:
    if not metrics:
        raise ValueError(f"no metric is given for {objective.upper()}")
    for name in metrics:
        if objective not in metric_card(name).serves:
            allowed = ", ".join(card.name for card in METRICS.values() if objective in card.serves)
            raise ValueError(f"metric {name!r} does not serve {objective.upper()}; those that do: {allowed}")


def clipped(share: Values) -> Values:
    return np.clip(np.where(np.isfinite(share), share, np.nan), 0.0, 1.0)


def nothing_left(parts: Sequence[Normalised], rows: int) -> str:
    if not rows:
        return "no row is left: the models share none in the chosen splits and facts"
    return "; ".join(f"{part.metric} on {part.split}: {part.reason}" for part in parts)
