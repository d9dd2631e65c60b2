"""Oracles: SciPy's Mann-Whitney statistic, the equation that defines the interval, coverage on simulated pools."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm

from unlearn_sweep.evaluators.metric_trust import auc_interval, trust

pools = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=8)


@given(pools, pools, st.booleans())
def test_the_area_is_that_of_mann_whitney(knowing: list[float], ignorant: list[float], higher: bool) -> None:
    found = trust(knowing, ignorant, higher_knows=higher)
    assert found is not None
    wins = mannwhitneyu(knowing, ignorant).statistic / (len(knowing) * len(ignorant))
    assert found.auc == pytest.approx(wins if higher else 1 - wins)
    assert 0 <= found.low <= found.auc <= found.high <= 1


@given(st.floats(0, 1), st.integers(2, 40), st.integers(2, 40))
def test_the_limits_are_areas_that_lie_two_errors_away(auc: float, first: int, second: int) -> None:
    low, high = auc_interval(auc, first, second)
    for limit in (low, high):
        spread = (1 - limit) / (2 - limit) + limit / (1 + limit)
        variance = limit * (1 - limit) * (1 + ((first + second) / 2 - 1) * spread) / (first * second)
        assert abs(auc - limit) == pytest.approx(1.959964 * math.sqrt(variance), abs=1e-6) or limit in (0.0, 1.0)
    assert (1 - high, 1 - low) == pytest.approx(auc_interval(1 - auc, first, second), abs=1e-9)


def test_pools_that_lie_apart_are_not_certain() -> None:
    found = trust([3.0, 4.0, 5.0], [0.0, 1.0, 2.0], higher_knows=True)
    assert found is not None
    assert (found.auc, found.high) == (1.0, 1.0)
    assert 0.4 < found.low < 0.6
    assert found.gap == pytest.approx(3.0)  # both pools have a standard deviation of 1
    wrong = trust([3.0, 4.0, 5.0], [0.0, 1.0, 2.0], higher_knows=False)
    assert wrong is not None
    assert (wrong.auc, wrong.gap) == (0.0, pytest.approx(-3.0))


def test_the_interval_covers_the_true_area() -> None:
    """Normal pools one standard deviation apart: the true area is Phi(1 / sqrt(2))."""
    rng, truth = np.random.default_rng(4), float(norm.cdf(1 / math.sqrt(2)))
    covered = 0
    for _ in range(400):
        found = trust(rng.normal(1, 1, 10).tolist(), rng.normal(0, 1, 10).tolist(), higher_knows=True)
        assert found is not None
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 400 <= 0.99


def test_one_model_is_no_pool_and_equal_ones_have_no_gap() -> None:
    assert trust([1.0], [0.0, 0.1], higher_knows=True) is None
    found = trust([1.0, 1.0], [0.0, 0.0], higher_knows=True)
    assert found is not None
    assert found.gap is None
