"""Probability of an answer. Oracles: `F.cross_entropy`, and TOFU's formula in plain probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from unlearn_sweep.evaluators.probability import mean_nll, normalised_probability, probability

NLL = st.floats(0.0, 30.0)


def test_probability_is_the_geometric_mean_of_token_probabilities() -> None:
    logp = np.log(np.array([0.5, 0.125], dtype=np.float32))
    assert probability(mean_nll(logp)) == pytest.approx(0.25)


def test_mean_nll_is_cross_entropy_over_the_answer() -> None:
    logits, labels = torch.randn(6, 11), torch.randint(0, 11, (6,))
    logp = -functional.cross_entropy(logits, labels, reduction="none").numpy()
    assert mean_nll(logp) == pytest.approx(functional.cross_entropy(logits, labels).item(), abs=1e-6)


def test_no_token_has_no_value() -> None:
    assert math.isnan(mean_nll(np.empty(0, dtype=np.float32)))
    assert math.isnan(probability(math.nan))


def test_normalised_probability_by_hand() -> None:
    # 0.5 / (0.5 + 0.25 + 0.25)
    assert normalised_probability(math.log(2), [math.log(4), math.log(4)]) == pytest.approx(0.5)


@given(NLL, st.lists(NLL, min_size=1, max_size=6))
def test_normalised_probability_is_tofus_ratio(nll: float, wrong: list[float]) -> None:
    correct, others = math.exp(-nll), [math.exp(-value) for value in wrong]
    assert normalised_probability(nll, wrong) == pytest.approx(correct / (correct + sum(others)), rel=1e-9)


def test_normalised_probability_survives_underflow() -> None:
    """exp(-2000) is 0 in floating point; the ratio of two such numbers is not."""
    assert normalised_probability(2000.0, [2000.0]) == pytest.approx(0.5)
    assert normalised_probability(5000.0, [1.0]) == pytest.approx(0.0, abs=1e-300)
    assert normalised_probability(1.0, [5000.0]) == 1.0


def test_without_wrong_answers_there_is_no_normalised_probability() -> None:
    assert math.isnan(normalised_probability(1.0, []))
    assert math.isnan(normalised_probability(math.nan, [1.0]))
