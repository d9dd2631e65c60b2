"""Truth ratio. Oracles: open-unlearning's values on synthetic losses, and its formulas in probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.evaluators.truth_ratio import (
    forget_truth_ratio,
    knowledge_truth_ratio,
    log_truth_ratio,
    retain_truth_ratio,
    truth_ratio,
    truthfulness,
)

NLL = st.floats(0.0, 20.0)


def test_values_for_a_paraphrase_at_1_and_five_wrong_answers_at_2() -> None:
    log_tr = log_truth_ratio(1.0, [2.0] * 5)
    row = np.array([log_tr])
    assert math.exp(log_tr) == pytest.approx(0.3679, abs=5e-5)
    assert forget_truth_ratio(row) == pytest.approx(0.3679, abs=5e-5)
    assert retain_truth_ratio(row) == pytest.approx(0.6321, abs=5e-5)
    assert knowledge_truth_ratio(row) == pytest.approx(0.7311, abs=5e-5)
    assert truth_ratio(log_tr) == pytest.approx(0.7311, abs=5e-5)


@given(st.lists(st.tuples(NLL, st.lists(NLL, min_size=1, max_size=5)), min_size=1, max_size=8))
def test_aggregates_are_open_unlearnings(rows: list[tuple[float, list[float]]]) -> None:
    log_trs = np.array([log_truth_ratio(correct, wrong) for correct, wrong in rows])
    correct = np.exp([-nll for nll, _ in rows])
    wrong = np.exp([-np.mean(nlls) for _, nlls in rows])
    ratio = wrong / correct
    assert forget_truth_ratio(log_trs) == pytest.approx(np.minimum(ratio, 1 / ratio).mean(), rel=1e-6)
    assert retain_truth_ratio(log_trs) == pytest.approx(np.maximum(0, 1 - ratio).mean(), rel=1e-6, abs=1e-12)
    assert knowledge_truth_ratio(log_trs) == pytest.approx((correct / (correct + wrong)).mean(), rel=1e-6)
    assert knowledge_truth_ratio(log_trs) == pytest.approx(np.mean([truth_ratio(value) for value in log_trs]))


def test_the_sign_tells_remembering_from_collapse() -> None:
    """min(TR, 1/TR) is near 0 for both; the signed logarithm is not."""
    remembers, prefers_wrong = log_truth_ratio(0.1, [9.0]), log_truth_ratio(9.0, [0.1])
    assert forget_truth_ratio(np.array([remembers])) == pytest.approx(forget_truth_ratio(np.array([prefers_wrong])))
    assert remembers < 0 < prefers_wrong
    assert truth_ratio(remembers) > 0.99 > 0.01 > truth_ratio(prefers_wrong)


def test_extremes_stay_finite() -> None:
    assert truth_ratio(5000.0) == pytest.approx(0.0, abs=1e-300)
    assert truth_ratio(-5000.0) == 1.0
    assert truthfulness(np.array([5000.0, -5000.0])).tolist() == [0.0, 1.0]


def test_a_model_that_does_not_know_is_at_a_half() -> None:
    assert truth_ratio(log_truth_ratio(3.0, [2.0, 4.0])) == 0.5


def test_rows_without_a_value_are_left_out() -> None:
    assert math.isnan(log_truth_ratio(1.0, []))
    assert math.isnan(truth_ratio(math.nan))
    rows = np.array([math.nan, -1.0])
    assert retain_truth_ratio(rows) == retain_truth_ratio(np.array([-1.0]))
    assert math.isnan(forget_truth_ratio(np.array([math.nan])))
