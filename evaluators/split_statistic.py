"""What metrics over whole splits share: a statistic of three models' rows under any weights, and why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearn_sweep.evaluators.aggregate import Matched, Values

FORGET, HOLDOUT = "forget", "holdout"
MODELS = ("unlearned", "original", "gold")

ByModel = dict[str, Values]
"""A statistic of each model, [draws]."""


class NoValueError(ValueError):
    """There is nothing to compute this metric from; the message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """`of`: from row weights [draws, rows] to a number of each model in every draw. `twin`: from two sets of weights,
    gold's and a second gold's, to the second gold's number. `self_compared` as in `SplitValues`.
    """

    of: Callable[[Values], ByModel]
    twin: Callable[[Values, Values], Values]
    self_compared: bool = False


def forget_rows(matched: Matched, column: str) -> NDArray[np.bool_]:
    """Forget rows where all three models have a value. Raises NoValueError where there is none."""
    rows = known_rows(matched, column) & (matched.splits(MODELS[0]) == FORGET)
    if not rows.any():
        raise NoValueError(f"no forget row has a value of {column} for all three models")
    return rows


def known_rows(matched: Matched, column: str, models: tuple[str, ...] = MODELS) -> NDArray[np.bool_]:
    """Rows where all these models have a value."""
    return np.logical_and.reduce([~np.isnan(matched.column(model, column)) for model in models])


def texts_of(matched: Matched, column: str) -> NDArray[np.object_]:
    """A column of texts (kind, form, part, fact_id), row by row."""
    first = MODELS[0]
    return matched.tables[first][column].to_numpy(dtype=object)[matched.positions[first]]
