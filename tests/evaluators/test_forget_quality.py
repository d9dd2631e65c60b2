"""Distances between distributions of truth ratios. Oracle: scipy.stats.ks_2samp, on samples and on repeated rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unlearn_sweep.evaluators.forget_quality import Values, drawn_p_values, ks_distance, ks_p_value


def oracle(one: Values, other: Values) -> float:
    result: Any = stats.ks_2samp(one, other)
    return float(result.statistic)


ROWS = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=15)


@given(ROWS)
def test_the_distance_is_scipys_ties_and_all(rows: list[tuple[int, int]]) -> None:
    one, other = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    found = ks_distance(one, other, np.ones((1, len(rows))))
    assert found[0] == pytest.approx(oracle(one, other))


@given(ROWS, st.integers(0, 2**16))
def test_weights_are_repetitions_of_rows(rows: list[tuple[int, int]], seed: int) -> None:
    one, other = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    times = np.random.default_rng(seed).integers(0, 3, len(rows))
    found = ks_distance(one, other, times[None].astype(float))
    if not times.any():
        assert math.isnan(found[0])
    else:
        assert found[0] == pytest.approx(oracle(np.repeat(one, times), np.repeat(other, times)))


def test_identical_samples_have_distance_0_and_p_1() -> None:
    ratios = np.random.default_rng(0).normal(size=400)
    assert ks_distance(ratios, ratios, np.ones((1, 400)))[0] == 0
    assert ks_p_value(ratios, ratios) == 1


def test_p_depends_on_the_number_of_rows_and_the_distance_does_not() -> None:
    """Why the objectives take the distance: the same shift gives another p in forget01 (40 rows) than in forget10."""
    draws = np.random.default_rng(1)
    base = draws.normal(size=400)
    shifted = base + 0.6
    few, many = (ks_p_value(base[:n], shifted[:n]) for n in (40, 400))
    assert few > 0.001 > 1e-9 > many
    d_few, d_many = (float(ks_distance(base[:n], shifted[:n], np.ones((1, n)))[0]) for n in (40, 400))
    assert abs(d_few - d_many) < 0.12


def test_drawn_p_values_follow_the_exact_ones() -> None:
    draws = np.random.default_rng(2)
    one, other = draws.normal(size=400), draws.normal(0.15, size=400)
    distance = ks_distance(one, other, np.ones((1, 400)))
    assert drawn_p_values(distance, 400)[0] == pytest.approx(ks_p_value(one, other), rel=0.15)
