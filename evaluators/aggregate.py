"""Per-row tables to means with an uncertainty: rows matched by row_id, resampled by fact.

All forms of one fact stand or fall together, so the bootstrap draws facts (`group_id`), never single rows of a fact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unlearn_sweep.evaluators.catalog import row_metrics

RESAMPLES = 200
CHANCE = 0.01
"""How rare an accident of sampling is that is no longer taken for one."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One aggregated number: mean over the `n` rows of a split that have a value, or the reason why there is none."""

    metric: str
    split: str
    half: Literal["search", "report", "all"]
    value: float | None
    standard_error: float | None
    n: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """The same rows of several tables, in the same order: `positions` [rows] are their places in each table.

    `clusters` [rows] numbers the facts from 0. `dropped` counts, by table, rows that another table lacks.
    """

    tables: Mapping[str, pd.DataFrame]
    positions: Mapping[str, NDArray[np.int64]]
    clusters: NDArray[np.int64]
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.clusters)

    def column(self, table: str, metric: str) -> Values:
        """One metric [rows] of one table, NaN where a row has no value. Raises ValueError for an absent column."""
        frame = self.tables[table]
        if metric not in frame.columns:
            known = ", ".join(str(name) for name in frame.columns)
            raise ValueError(f"the {table} table has no column {metric!r}, only {known}; evaluate with that metric")
        return frame[metric].to_numpy(dtype=np.float64, na_value=np.nan)[self.positions[table]]

    def splits(self, table: str) -> NDArray[np.object_]:
        """The split [rows] each row belongs to."""
        return self.tables[table]["split"].to_numpy(dtype=object)[self.positions[table]]


def match_rows(
    tables: Mapping[str, pd.DataFrame], *, splits: Iterable[str] | None = None, groups: frozenset[str] | None = None
) -> Matched:
    """Rows that every table has, in the order of the first; limited to `splits` and fact `groups` where given.

    Raises ValueError where a table names a row twice.
    """
    chosen = None if splits is None else frozenset(splits)
    places = {name: _places(name, table, chosen, groups) for name, table in tables.items()}
    first, *others = places.values()
    common = [row_id for row_id in first if all(row_id in other for other in others)]
    positions = {name: np.array([at[row_id] for row_id in common], dtype=np.int64) for name, at in places.items()}
    leading = next(iter(tables))
    facts = np.array(tables[leading]["group_id"].tolist(), dtype=object)[positions[leading]].tolist()
    # A single fact cannot be resampled; its rows are all that is left to vary.
    labels = facts if len(set(facts)) > 1 else common
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return Matched(
        tables=tables,
        positions=positions,
        clusters=np.array([numbers[label] for label in labels], dtype=np.int64),
        dropped={name: len(at) - len(common) for name, at in places.items() if len(at) > len(common)},
    )


def _places(
    name: str, table: pd.DataFrame, splits: frozenset[str] | None, groups: frozenset[str] | None
) -> dict[str, int]:
    """Place in the table of each chosen row, by row_id. Plain lists: for some hundred rows far faster than an index."""
    places: dict[str, int] = {}
    columns = zip(table["row_id"].tolist(), table["split"].tolist(), table["group_id"].tolist(), strict=True)
    for place, (row_id, split, group) in enumerate(columns):
        if (splits is None or split in splits) and (groups is None or group in groups):
            if row_id in places:
                raise ValueError(f"the {name} table names row {row_id!r} more than once; rows are matched by row_id")
            places[row_id] = place
    return places


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Draws of facts with replacement: `weights` [draws, facts] says how often each draw has each fact.

    Two columns under the same draws are paired, so differences and ratios between models keep what they share.
    """

    clusters: NDArray[np.int64]
    weights: Values

    @classmethod
    def of(cls, clusters: NDArray[np.int64], *, seed: int, resamples: int = RESAMPLES) -> Bootstrap:
        """The same clusters and seed give the same draws."""
        facts = int(clusters.max()) + 1 if len(clusters) else 0
        if facts == 0:
            return cls(clusters, np.zeros((resamples, 0)))
        counts = np.random.default_rng(seed).multinomial(facts, np.full(facts, 1.0 / facts), size=resamples)
        return cls(clusters, counts.astype(np.float64))

    @property
    def possible(self) -> bool:
        """Whether there is anything to vary: at least two facts (or rows of one fact)."""
        return self.weights.shape[1] > 1

    def means(self, column: Values) -> Values:
        """The column's mean in every draw [draws], over rows that have a value; NaN in a draw that has none."""
        known = ~np.isnan(column)
        facts = self.weights.shape[1]
        totals = np.bincount(self.clusters[known], weights=column[known], minlength=facts)
        counts = np.bincount(self.clusters[known], minlength=facts)
        drawn = self.weights @ counts
        means = np.full(len(drawn), np.nan)
        return np.divide(self.weights @ totals, drawn, out=means, where=drawn > 0)


def spread(draws: Values) -> float | None:
    """Standard deviation of a statistic over bootstrap draws, which is its standard error; None below two draws."""
    known = draws[~np.isnan(draws)]
    return float(known.std(ddof=1)) if len(known) > 1 else None


def mean_of(column: Values) -> float | None:
    """Mean over rows that have a value; None where none has. Equal columns give bit-equal means."""
    known = column[~np.isnan(column)]
    return float(known.mean()) if len(known) else None


def harmonic_mean(values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """sum(w) / sum(w/x) of values of at least 0, with weights above 0 (None: all 1); 0 as soon as one value is 0.

    Raises ValueError for no value, a negative or a NaN.
    """
    if not values or any(not value >= 0 for value in values):
        raise ValueError(f"a harmonic mean needs values of at least 0, got {list(values)}")
    if min(values) == 0:
        return 0.0
    shares = [1.0] * len(values) if weights is None else weights
    return math.fsum(shares) / math.fsum(share / value for share, value in zip(shares, values, strict=True))


def least_share(noise: float, facts: int) -> float:
    """The least that a score counts as in a harmonic mean: above 0 only where chance alone can make it 0.

    `noise` is the standard deviation of the score: that of the distance between the anchors, over the distance. In one
    of a hundred samples of `facts` facts (Student's t, both sides) chance takes a model from 1 to `1 - t * noise`.
    Where that is at least 0, a measured 0 is no accident and counts as 0; below, the score counts as no less than the
    part below 0, at most its noise. Continuous; 0 for fewer than two facts.
    """
    if facts < 2 or noise <= 0:
        return 0.0
    from scipy import special

    furthest = float(special.stdtrit(facts - 1, 1.0 - CHANCE / 2)) * noise
    return min(noise, max(0.0, furthest - 1.0))


def lifted(means: Values, least: Values) -> Values:
    """Groups' means [groups, draws], each at least its share in `least` [groups] times the mean of the other groups.

    So a group of few rows cannot zero what the others say, all zeros stay zeros, and nothing jumps.
    """
    if len(means) == 1:
        return means
    others = (means.sum(axis=0) - means) / (len(means) - 1)
    return np.maximum(means, least[:, None] * others)


def measure(
    table: pd.DataFrame,
    metrics: Sequence[str],
    *,
    groups: frozenset[str] | None = None,
    half: Literal["search", "report", "all"] = "all",
    seed: int = 0,
) -> tuple[Measured, ...]:
    """Every metric on every split of one table, limited to fact `groups`; `half` is only written down.

    A metric over whole splits stands for its per-row components. Raises ValueError for an unknown metric or column.
    """
    results = []
    for split in table["split"].unique():
        matched = match_rows({"evaluated": table}, splits=[split], groups=groups)
        bootstrap = Bootstrap.of(matched.clusters, seed=seed)
        for metric in row_metrics(metrics):
            column = matched.column("evaluated", metric)
            value = mean_of(column)
            results.append(
                Measured(
                    metric=metric,
                    split=str(split),
                    half=half,
                    value=value,
                    standard_error=spread(bootstrap.means(column)) if bootstrap.possible else None,
                    n=int((~np.isnan(column)).sum()),
                    reason=None if value is not None else f"none of {len(column)} rows has a value",
                )
            )
    return tuple(results)
