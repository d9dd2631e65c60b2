"""What every per-row metric owes the objectives, as functions that raise ContractError: tests and `check-plugin`."""

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
    """A range that holds the chance value, an objective it serves, and words."""
    low, high = bounds(card)
    require(bool(card.serves), "the card serves no objective")
    require(low <= card.chance < high, f"chance {card.chance:g} is not in [{low:g}, {high:g})")
    require(all((card.summary, card.unit, card.source)), "the card lacks a summary, a unit or a source")


def values_are_in_range(card: MetricCard, target: Target) -> None:
    """Every value of every row lies in the card's range or is NaN, and one row at least has a value."""
    low, high = bounds(card)
    values = measured(card, target, "forget")
    known = values[~np.isnan(values)]
    require(known.size > 0, "no row of the toy world has a value: kinds on the card may be wrong")
    outside = known[(known < low - TOLERANCE) | (known > high + TOLERANCE)]
    require(not outside.size, f"{outside.size} values are outside [{low:g}, {high:g}], {outside[:1]} for one")


def what_was_not_measured_has_no_value(card: MetricCard, target: Target) -> None:
    """NaN, and neither a number nor an exception, where nothing came back for a row."""
    row = target.benchmark.evaluation["forget"][0]
    value = row_metric(card.name)(Measured(row=row, reference=row.answer))
    require(isinstance(value, float) and math.isnan(value), f"a row of which nothing was measured has value {value!r}")


def forgetting_moves_it_the_declared_way(card: MetricCard, target: Target) -> None:
    """The mean over forget rows moves from original to unlearned model; one judged by gold may go anywhere."""
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
    """The card's range, with infinities where there is no bound."""
    low, high = card.range
    return -math.inf if low is None else low, math.inf if high is None else high


def measured(card: MetricCard, target: Target, split: str) -> NDArray[np.float64]:
    """The metric of each row of a split."""
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
