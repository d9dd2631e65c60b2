"""One's own value of a published metric, with its error, from the rows that a sweep measured. Pure functions on tables.

A published number is over all rows of a split, so these are too; the halves of a search and its report play no part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.paper_cards import MeanOf, Reading

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Tables = Mapping[str, "pd.DataFrame"]
"""Rows by model: "unlearned", "original" and "gold"; a model that does not exist or was not measured is missing."""
TablesAt = Callable[[str, float | None], Tables]
"""The tables under an attack by its label ("" for none) at a strength (None: the last).

Raises:
    NotMeasuredError: the attack or the strength was not run.
"""


class NotMeasuredError(Exception):
    """The sweep did not measure what a published number says. The message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnValue:
    """A value in the unit of the published number and its bootstrap standard error over facts; None with a reason."""

    value: float | None
    error: float | None = None
    rows: int = 0
    reason: str = ""


def own_value(reading: Reading | MeanOf, tables_at: TablesAt, *, seed: int = 0) -> OwnValue:
    """Return the value of a reading for the unlearned model, with the reason if it has none.

    The error of a mean over groups takes its readings as independent, which rows of different splits are.
    """
    try:
        if isinstance(reading, MeanOf):
            return _mean_of(reading, tables_at, seed)
        return _read(reading, tables_at(reading.attack, reading.strength), seed)
    except NotMeasuredError as error:
        return OwnValue(value=None, reason=str(error))


def _mean_of(mean: MeanOf, tables_at: TablesAt, seed: int) -> OwnValue:
    groups = [[own_value(reading, tables_at, seed=seed) for reading in group] for group in mean.groups]
    missing = [found.reason for group in groups for found in group if found.value is None]
    if missing:
        raise NotMeasuredError("; ".join(dict.fromkeys(missing)))
    value = fmean(fmean(found.value for found in group if found.value is not None) for group in groups)
    parts = [(found.error, len(groups) * len(group)) for group in groups for found in group]
    errors = [error / share for error, share in parts if error is not None]
    error = sum(error**2 for error in errors) ** 0.5 if len(errors) == len(parts) else None
    return OwnValue(value=value, error=error, rows=sum(found.rows for group in groups for found in group))


def _read(reading: Reading, tables: Tables, seed: int) -> OwnValue:
    from unlearn_sweep.evaluators.split_metrics import SPLIT_METRICS

    if "unlearned" not in tables:
        raise NotMeasuredError("the model was not measured")
    if reading.metric == "model_utility":
        found = _utility(tables["unlearned"], seed)
    elif reading.metric in SPLIT_METRICS:
        found = _over_splits(reading, tables, seed)
    else:
        found = _over_rows(reading, tables["unlearned"], seed)
    if found.value is None:
        return found
    error = None if found.error is None else found.error * abs(reading.scale)
    return OwnValue(value=found.value * reading.scale, error=error, rows=found.rows)


def _over_rows(reading: Reading, table: pd.DataFrame, seed: int) -> OwnValue:
    """Mean over the rows of the reading that have a value."""
    import numpy as np

    from unlearn_sweep.evaluators.aggregate import Bootstrap, match_rows, mean_of, spread

    name = "log_truth_ratio" if reading.form == "nearness" else reading.metric
    if name not in table.columns:
        raise NotMeasuredError(f"{reading.metric} is not measured by the sweep")
    chosen = table.loc[table["row_id"].astype(str).str.startswith(reading.rows)]
    matched = match_rows({"unlearned": chosen}, splits=[reading.split])
    column = _formed(matched.column("unlearned", name), reading.form)
    value = mean_of(column)
    if value is None:
        where = f"split {reading.split}" + (f", rows {reading.rows}..." if reading.rows else "")
        raise NotMeasuredError(f"{reading.metric} has no value on {where}")
    bootstrap = Bootstrap.of(matched.clusters, seed=seed)
    error = spread(bootstrap.means(column)) if bootstrap.possible else None
    return OwnValue(value=value, error=error, rows=int((~np.isnan(column)).sum()))


def _formed(column: NDArray[np.float64], form: str) -> NDArray[np.float64]:
    import numpy as np

    if form == "loss":
        with np.errstate(divide="ignore"):
            return -np.log(column)
    return np.exp(-np.abs(column)) if form == "nearness" else column


def _utility(table: pd.DataFrame, seed: int) -> OwnValue:
    from unlearn_sweep.evaluators.aggregate import Bootstrap, match_rows, spread
    from unlearn_sweep.evaluators.model_utility import model_utility, resampled_utility

    splits = [str(name) for name in table["split"].unique() if _is_utility(str(name))]
    matched = match_rows({"unlearned": table}, splits=splits)
    try:
        found = model_utility(matched, "unlearned", splits)
    except ValueError as error:  # a component that the sweep did not measure
        raise NotMeasuredError(f"model_utility is not measured by the sweep: {error}") from error
    if found.value is None:
        raise NotMeasuredError(found.reason or "model utility has no value")
    bootstrap = Bootstrap.of(matched.clusters, seed=seed)
    error = spread(resampled_utility(matched, "unlearned", splits, bootstrap)) if bootstrap.possible else None
    return OwnValue(value=found.value, error=error, rows=len(matched))


def _is_utility(split: str) -> bool:
    return split not in ("forget", "holdout") and not split.startswith("task:")


def _over_splits(reading: Reading, tables: Tables, seed: int) -> OwnValue:
    """A metric over whole splits, of the unlearned model against original and gold."""
    from unlearn_sweep.evaluators.aggregate import spread
    from unlearn_sweep.evaluators.split_metrics import NoValueError, split_values

    missing = [which for which in ("original", "gold") if which not in tables]
    if missing:
        raise NotMeasuredError(f"{reading.metric} needs the {' and the '.join(missing)} model, which the sweep lacks")
    try:
        found = split_values(reading.metric, tables, groups=None, seed=seed)
    except (NoValueError, ValueError) as error:  # no rows, or a column that the sweep did not measure
        raise NotMeasuredError(f"{reading.metric}: {error}") from error
    error = spread(found.draws["unlearned"]) if found.possible else None
    return OwnValue(value=found.values["unlearned"], error=error, rows=found.facts)
