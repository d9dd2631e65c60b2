"""Do the truth ratios of an unlearned model look like those of a model that never saw the facts? TOFU's forget quality.

The two-sample Kolmogorov-Smirnov test over rows (arXiv 2401.06121, section 2.2.1). Its p-value depends on the number of
rows (40, 200 and 400 in TOFU's three splits), so the objectives take the distance D between the two distributions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def ks_distance(one: Values, other: Values, weights: Values, other_weights: Values | None = None) -> Values:
    """D [draws] in [0, 1]: the largest gap between the two distribution functions, for row weights [draws, rows].

    Row i of both samples is the same question, so both take the same weight unless `other_weights` are given. With all
    weights 1 it is the statistic of `scipy.stats.ks_2samp`. NaN in a draw without rows.
    """
    theirs = weights if other_weights is None else other_weights
    pooled = np.concatenate([one, other])
    order = np.argsort(pooled, kind="stable")
    total, their_total = weights.sum(axis=1, keepdims=True), theirs.sum(axis=1, keepdims=True)
    # Whole numbers, so that equal distributions are exactly 0 apart.
    steps = np.concatenate([weights * their_total, -theirs * total], axis=1)[:, order]
    gaps = np.abs(np.cumsum(steps, axis=1))
    last_of_ties = np.append(np.diff(pooled[order]) > 0, True)
    whole = (total * their_total)[:, 0]
    return np.divide(gaps[:, last_of_ties].max(axis=1), whole, out=np.full(len(whole), np.nan), where=whole > 0)


def ks_p_value(one: Values, other: Values) -> float:
    """p-value in [0, 1] of the two-sided test, as `scipy.stats.ks_2samp` gives it: TOFU's forget quality itself."""
    from scipy import stats  # half a second to import, in each process of a trial

    result: Any = stats.ks_2samp(one, other)
    return float(result.pvalue)


def drawn_p_values(distances: Values, rows: int) -> Values:
    """p-values [draws] of distances between samples of `rows` rows each, by the limit distribution."""
    from scipy import special

    return np.asarray(special.kolmogorov(distances * np.sqrt(rows / 2)), dtype=np.float64)
