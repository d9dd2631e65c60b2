"""Means and their uncertainty. Oracles: numpy on hand tables, a loop over the draws, the standard error of a mean."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hmean

from tests.evaluators.tables import noisy, table
from unlearn_sweep.evaluators.aggregate import Bootstrap, harmonic_mean, match_rows, mean_of, measure, spread


def test_rows_are_matched_by_id_whatever_their_order() -> None:
    one = table({"probability": [0.1, 0.2, 0.3, 0.4]})
    other = table({"probability": [1.0, 2.0, 3.0, 4.0]}).iloc[[3, 1, 0]]
    matched = match_rows({"one": one, "other": other})
    assert matched.column("one", "probability").tolist() == [0.1, 0.2, 0.4]
    assert matched.column("other", "probability").tolist() == [1.0, 2.0, 4.0]
    assert matched.dropped == {"one": 1}


def test_rows_are_limited_to_splits_and_facts() -> None:
    both = pd.concat([table({"rouge": [0.1, 0.2]}), table({"rouge": [0.3]}, split="retain", prefix="r")])
    assert match_rows({"t": both}, splits=["retain"]).column("t", "rouge").tolist() == [0.3]
    chosen = frozenset({"f-fact1", "r-fact0"})
    assert match_rows({"t": both}, groups=chosen).column("t", "rouge").tolist() == [0.2, 0.3]
    assert len(match_rows({"t": both}, splits=["nowhere"])) == 0


def test_all_forms_of_a_fact_are_one_cluster() -> None:
    rows = table({"rouge": [0.1] * 6}, forms=3)
    assert match_rows({"t": rows}).clusters.tolist() == [0, 0, 0, 1, 1, 1]
    assert match_rows({"t": rows.iloc[[5, 0, 4]]}).clusters.tolist() == [0, 1, 0]


def test_a_row_named_twice_and_an_absent_column_are_refused() -> None:
    twice = pd.concat([table({"rouge": [0.1]}), table({"rouge": [0.2]})])
    with pytest.raises(ValueError, match="the gold table names row 'f0' more than once"):
        match_rows({"gold": twice})
    with pytest.raises(ValueError, match="the gold table has no column 'probability', only row_id, group_id"):
        match_rows({"gold": table({"rouge": [0.1]})}).column("gold", "probability")


def test_bootstrap_means_are_those_of_the_drawn_rows() -> None:
    """Oracle: build each draw's list of rows and average it."""
    facts = np.array([0, 0, 1, 2, 2, 2])
    column = np.array([0.1, 0.5, np.nan, 0.3, 0.9, 0.7])
    bootstrap = Bootstrap.of(facts, seed=4, resamples=50)
    assert (bootstrap.weights.sum(axis=1) == 3).all(), "as many facts are drawn as there are"
    for weights, found in zip(bootstrap.weights, bootstrap.means(column), strict=True):
        drawn = [value for fact, times in enumerate(weights) for value in column[facts == fact].tolist() * int(times)]
        known = [value for value in drawn if not math.isnan(value)]
        assert found == pytest.approx(np.mean(known)) if known else math.isnan(found)


def test_the_standard_error_is_that_of_a_mean_of_facts() -> None:
    """Independent rows: sd / sqrt(n). Three identical forms a fact: the facts count, not the rows."""
    values = np.random.default_rng(0).normal(size=300)
    alone = Bootstrap.of(np.arange(300), seed=1, resamples=4000).means(values)
    assert spread(alone) == pytest.approx(values.std() / math.sqrt(300), rel=0.05)
    tripled = Bootstrap.of(np.repeat(np.arange(300), 3), seed=1, resamples=4000).means(np.repeat(values, 3))
    assert spread(tripled) == pytest.approx(spread(alone))


def test_the_same_seed_draws_the_same_facts() -> None:
    facts = np.arange(9)
    assert (Bootstrap.of(facts, seed=1).weights == Bootstrap.of(facts, seed=1).weights).all()
    assert (Bootstrap.of(facts, seed=1).weights != Bootstrap.of(facts, seed=2).weights).any()


def test_one_fact_is_resampled_by_its_rows_and_one_row_not_at_all() -> None:
    assert Bootstrap.of(match_rows({"t": table({"rouge": [0.1, 0.2]}, forms=2)}).clusters, seed=0).possible
    assert not Bootstrap.of(match_rows({"t": table({"rouge": [0.1]})}).clusters, seed=0).possible
    assert not Bootstrap.of(np.empty(0, dtype=np.int64), seed=0).possible


def test_mean_and_spread_have_no_value_without_numbers() -> None:
    assert mean_of(np.array([np.nan, 2.0, 4.0])) == 3.0
    assert mean_of(np.array([np.nan])) is None
    assert spread(np.array([1.0, np.nan])) is None


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8))
def test_harmonic_mean_is_scipys(values: list[float]) -> None:
    assert harmonic_mean(values) == pytest.approx(hmean(values))


def test_harmonic_mean_at_its_edges() -> None:
    assert harmonic_mean([1.0, 1.0, 1.0]) == 1.0
    assert harmonic_mean([0.9, 0.0]) == 0.0
    for bad in ([], [-0.1], [math.nan]):
        with pytest.raises(ValueError, match="at least 0"):
            harmonic_mean(bad)


def test_measure_reports_mean_error_count_and_reason() -> None:
    forget = table({"probability": [0.2, 0.4, math.nan, 0.6], "rouge": [math.nan] * 4})
    rows = pd.concat([forget, noisy({"probability": 0.7, "rouge": 0.5}, split="retain")])
    found = {(part.split, part.metric): part for part in measure(rows, ["probability", "rouge"], half="search")}
    assert set(found) == {(split, metric) for split in ("forget", "retain") for metric in ("probability", "rouge")}
    part = found["forget", "probability"]
    assert (part.value, part.n, part.reason, part.half) == (pytest.approx(0.4), 3, None, "search")
    assert part.standard_error is not None
    assert part.standard_error > 0
    missing = found["forget", "rouge"]
    assert (missing.value, missing.standard_error, missing.n) == (None, None, 0)
    assert missing.reason == "none of 4 rows has a value"
    assert found["retain", "rouge"].value == pytest.approx(0.5)
    (limited,) = measure(forget, ["probability"], groups=frozenset({"f-fact0"}))
    assert (limited.value, limited.standard_error) == (0.2, None)
