"""Contract checks for per-row metrics. Each raises ContractError on a violation. For the tests and `check-plugin`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unlearn_sweep.engine.contracts.failure import require
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.cards import MetricCard
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.row_metrics import Measured, row_metric

TOLERANCE = 1e-9


def the_card_says_all_there_is(card: MetricCard) -> None:
    """Check the card: its range includes the chance value, it serves an objective, and its texts are there."""
    low, high = bounds(card)
    require(bool(card.serves), "the card serves no objective")
    perfect = card.chance == high and card.better_on_forget == "higher" and card.serves == ("ue",)
    require(low <= card.chance < high or perfect, f"chance {card.chance:g} is not in [{low:g}, {high:g})")
    require(all((card.summary, card.unit, card.source)), "the card lacks a summary, a unit or a source")


def values_are_in_range(card: MetricCard, target: Target) -> None:
    """Check that the metric of every forget row is in the card's range or NaN, and that at least one is not NaN."""
    low, high = bounds(card)
    values = measured(card, target, "forget")
    known = values[~np.isnan(values)]
    require(known.size > 0, "no row of the toy world has a value: kinds on the card may be wrong")
    outside = known[(known < low - TOLERANCE) | (known > high + TOLERANCE)]
    require(not outside.size, f"{outside.size} values are outside [{low:g}, {high:g}], {outside[:1]} for one")


def what_was_not_measured_has_no_value(card: MetricCard, target: Target) -> None:
    """Check that a row without measurements gives NaN: neither a number nor an exception."""
    row = target.benchmark.evaluation["forget"][0]
    value = row_metric(card.name)(Measured(row=row, reference=row.answer))
    require(isinstance(value, float) and math.isnan(value), f"a row of which nothing was measured has value {value!r}")


def forgetting_moves_it_the_declared_way(card: MetricCard, target: Target) -> None:
    """Check that the mean over forget rows moves in the declared direction from original to unlearned model.

    A metric whose target is the gold model's value ("gold") may move either way.
    """
    require(target.original is not None, "the target has no original model")
    if card.better_on_forget == "gold" or target.original is None:
        return
    before = _mean(measured(card, replace(target, model=target.original()), "forget"))
    after = _mean(measured(card, target, "forget"))
    better = after <= before if card.better_on_forget == "lower" else after >= before
    require(
        better,
        f"better_on_forget is {card.better_on_forget!r}, and forgetting took the mean from {before:.4g} to {after:.4g}",
    )


def bounds(card: MetricCard) -> tuple[float, float]:
    """Return the card's range, with an infinity for a missing bound."""
    low, high = card.range
    return -math.inf if low is None else low, math.inf if high is None else high


def measured(card: MetricCard, target: Target, split: str) -> NDArray[np.float64]:
    """Compute the metric of each row of a split."""
    table = evaluate_rows(
        target.model,
        target.tokenizer,
        list(target.benchmark.evaluation[split]),
        metrics=[card.name],
        template=target.benchmark.template,
        max_new_tokens=8,
    ).table
    return table[card.name].to_numpy(dtype=np.float64)


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    return float(np.nanmean(np.asarray(values, dtype=np.float64)))
