"""Metrics over whole splits that tell the parts of a benchmark apart: RWKU's levels and probes, LUME's tasks.

A part is a column of the rows (`Row.part`). Each of these metrics is one number of forget rows, some of which are held
against utility rows as well, so that no gold model is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from unlearn_sweep.evaluators.aggregate import Matched, Values
from unlearn_sweep.evaluators.membership import area_under_curve
from unlearn_sweep.evaluators.probe_parts import RWKU_METRICS, in_part
from unlearn_sweep.evaluators.split_statistic import (
    FORGET,
    HOLDOUT,
    MODELS,
    ByModel,
    NoValueError,
    Statistic,
    forget_rows,
    known_rows,
    texts_of,
)

Mask = NDArray[np.bool_]

REGURGITATION, KNOWLEDGE = "regurgitation", "exact_answer"
"""LUME's two scores of each task."""
WIDER = frozenset({"mia_loss_rise", "lume_task_aggregate"})
"""Metrics that hold forget rows against rows of utility splits."""


def mean_of_part(column: str, part: str) -> Callable[[Matched], Statistic]:
    """Mean of a row metric over the forget rows of a part; "level3" has "level3/role_play" in it."""

    def make(matched: Matched) -> Statistic:
        inside = np.array([in_part(str(found), part) for found in texts_of(matched, "part")], dtype=bool)
        rows = forget_rows(matched, column) & inside
        if not rows.any():
            raise NoValueError(f"no forget row of part {part} has a value of {column} for all three models")
        columns = {model: matched.column(model, column)[rows] for model in MODELS}

        def of(weights: Values) -> ByModel:
            return {model: weighted_mean(weights[:, rows], found) for model, found in columns.items()}

        return Statistic(of=of, twin=lambda ours, theirs: of(theirs)["gold"])

    return make


def weighted_mean(weights: Values, column: Values) -> Values:
    """Mean [draws] of a column [rows] under weights [draws, rows]; NaN in a draw without a row."""
    total = weights.sum(axis=1)
    return np.divide(weights @ column, total, out=np.full(len(weights), np.nan), where=total > 0)


def loss_rise(matched: Matched) -> Statistic:
    """Area under the curve of how much the loss of each text rises over the original's: forget against retain texts.

    0.5 for the original itself, 1 where every forget text's loss rises more than every retain text's. RWKU reads the
    losses of its forget and retain members so, and has no gold model: where gold has no losses (`floor: chance`), its
    value is 1.
    """
    losses = {model: matched.column(model, "mia_loss") for model in MODELS}
    measured = known_rows(matched, "mia_loss", ("unlearned", "original")) & (texts_of(matched, "kind") == "text")
    splits = matched.splits(MODELS[0])
    members = measured & (splits == FORGET)
    others = measured & ~np.isin(splits.astype(str), (FORGET, HOLDOUT))
    if not members.any() or not others.any():
        raise NoValueError("forget texts and retain texts are needed, each with a loss of both models")
    rises = {model: found - losses["original"] for model, found in losses.items()}
    no_gold = bool(np.isnan(losses["gold"][members | others]).any())

    def area(model: str, weights: Values) -> Values:
        if model == "gold" and no_gold:
            return np.ones(len(weights))
        return area_under_curve(rises[model][others], rises[model][members], weights[:, others], weights[:, members])

    return Statistic(
        of=lambda weights: {model: area(model, weights) for model in MODELS},
        twin=lambda ours, theirs: area("gold", theirs),
    )


def forget_aggregate(matched: Matched) -> Statistic:
    """LUME's aggregate over the forget rows alone: harmonic mean, over tasks, of 1 - each of the two scores."""
    cells = _cells(matched, FORGET)

    def of(weights: Values) -> ByModel:
        return {model: _harmonic([1.0 - value for value in _means(cells, model, weights)]) for model in MODELS}

    return Statistic(of=of, twin=lambda ours, theirs: of(theirs)["gold"])


def task_aggregate(matched: Matched) -> Statistic:
    """LUME's published task aggregate: harmonic mean of 1 - forget scores and of retain scores, twelve in all.

    Where gold knows nothing of the retain rows (`floor: chance`), its scores there are the original's: what is to be
    kept is what was there.
    """
    forget, retain = _cells(matched, FORGET), _cells(matched, None)
    kept_by_gold = "gold" if any(columns["gold"].any() for _, columns in retain) else "original"

    def of(weights: Values) -> ByModel:
        kept = {model: _means(retain, kept_by_gold if model == "gold" else model, weights) for model in MODELS}
        return {
            model: _harmonic([*(1.0 - value for value in _means(forget, model, weights)), *kept[model]])
            for model in MODELS
        }

    return Statistic(of=of, twin=lambda ours, theirs: of(theirs)["gold"])


Cell = tuple[Mask, Mapping[str, Values]]
"""The rows of one task that one score is of, and their values by model."""


def _cells(matched: Matched, split: str | None) -> list[Cell]:
    """Each task's rows with each score, in one split, or in all utility splits (None)."""
    splits, parts = matched.splits(MODELS[0]), texts_of(matched, "part").astype(str)
    there = splits == split if split is not None else ~np.isin(splits.astype(str), (FORGET, HOLDOUT))
    found: list[Cell] = []
    for part in sorted({str(name) for name in parts[there]} - {""}):
        for column in (REGURGITATION, KNOWLEDGE):
            rows = there & (parts == part) & known_rows(matched, column, ("unlearned", "original"))
            if rows.any():
                found.append((rows, {model: matched.column(model, column)[rows] for model in MODELS}))
    if not found:
        raise NoValueError("no rows of any task have a value of regurgitation or exact_answer")
    return found


def _means(cells: list[Cell], model: str, weights: Values) -> list[Values]:
    return [weighted_mean(weights[:, rows], columns[model]) for rows, columns in cells]


def _harmonic(scores: list[Values]) -> Values:
    """Harmonic mean [draws] of scores [draws] in [0, 1]; 0 where one of them is 0."""
    stacked = np.stack(scores)
    with np.errstate(divide="ignore"):
        return len(stacked) / (1.0 / stacked).sum(axis=0)


PART_METRICS: Mapping[str, Callable[[Matched], Statistic]] = {
    **{name: mean_of_part("rouge_rwku", part) for name, part in RWKU_METRICS.items()},
    "mia_loss_rise": loss_rise,
    "lume_forget_aggregate": forget_aggregate,
    "lume_task_aggregate": task_aggregate,
}
