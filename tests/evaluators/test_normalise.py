"""Scores between anchors. Oracle: the formulas by hand, and their range by property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.evaluators.normalise import normalise_forgetting, normalise_utility

SHARE = st.floats(0.0, 1.0)


@pytest.mark.parametrize(
    ("value", "score"),
    [(0.9, 0.0), (0.1, 1.0), (0.5, 0.5), (0.7, 0.25), (0.95, 0.0), (0.0, 1.0)],
)
def test_forgetting_runs_from_original_to_gold_and_no_further(value: float, score: float) -> None:
    assert normalise_forgetting(value, 0.9, 0.1, 0.01) == (pytest.approx(score), None)


@pytest.mark.parametrize(("value", "score"), [(0.1, 0.0), (0.9, 1.0), (0.3, 0.25), (1.0, 1.0), (0.0, 0.0)])
def test_a_metric_that_is_better_higher_runs_the_other_way(value: float, score: float) -> None:
    assert normalise_forgetting(value, 0.1, 0.9, 0.01, better="higher") == (pytest.approx(score), None)


@pytest.mark.parametrize(("value", "score"), [(0.9, 0.0), (0.5, 1.0), (0.7, 0.5), (0.3, 0.5), (0.0, 0.0)])
def test_two_sided_metrics_punish_going_beyond_gold(value: float, score: float) -> None:
    assert normalise_forgetting(value, 0.9, 0.5, 0.01, better="gold") == (pytest.approx(score), None)
    assert normalise_forgetting(1 - value, 0.1, 0.5, 0.01, better="gold") == (pytest.approx(score), None)


def test_anchors_within_noise_give_a_reason_with_the_figures() -> None:
    assert normalise_forgetting(0.5, 0.52, 0.48, 0.0199)[0] is not None
    score, reason = normalise_forgetting(0.5, 0.52, 0.48, 0.0201)
    assert score is None
    assert reason == "original 0.52 and gold 0.48 are 0.04 apart, which is within 2 x 0.0201 of noise"


def test_equal_reversed_and_unmeasurable_anchors_give_reasons() -> None:
    assert "0 apart" in str(normalise_forgetting(0.5, 0.5, 0.5, 0.0)[1])
    score, reason = normalise_forgetting(0.2, 0.1, 0.9, 0.01)
    assert score is None
    assert (
        reason == "original 0.1 and gold 0.9 are the wrong way round: gold remembers more than original by this metric"
    )
    assert normalise_forgetting(0.2, 0.9, 0.1, None) == (
        None,
        "original 0.9 and gold 0.1: a single row: their distance cannot be told from noise",
    )


@given(SHARE, SHARE, SHARE, st.floats(0.0, 0.3), st.sampled_from(["lower", "higher", "gold"]))
def test_a_score_is_in_range_or_there_is_a_reason(
    value: float, original: float, gold: float, gap_sd: float, better: str
) -> None:
    score, reason = normalise_forgetting(value, original, gold, gap_sd, better=better)  # type: ignore[arg-type]
    assert (score is None) != (reason is None)
    assert score is None or 0.0 <= score <= 1.0


@given(SHARE, SHARE, st.floats(0.0, 0.1))
def test_original_is_exactly_0_and_gold_exactly_1(original: float, gold: float, gap_sd: float) -> None:
    if original - gold > max(1e-9, 2 * gap_sd):
        assert normalise_forgetting(original, original, gold, gap_sd) == (0.0, None)
        assert normalise_forgetting(gold, original, gold, gap_sd) == (1.0, None)


@pytest.mark.parametrize(("value", "score"), [(0.9, 1.0), (0.5, 0.0), (0.7, 0.5), (0.4, 0.0), (0.95, 1.0)])
def test_utility_is_what_is_left_above_chance(value: float, score: float) -> None:
    assert normalise_utility(value, 0.9, 0.5, 0.01) == (pytest.approx(score), None)


def test_an_original_at_chance_has_nothing_to_keep() -> None:
    score, reason = normalise_utility(0.5, 0.52, 0.5, 0.02)
    assert score is None
    assert reason == "original 0.52 is not above chance 0.5 by 2 x 0.02 of noise"
    assert normalise_utility(0.0, 0.0, 0.0, 0.0)[0] is None
    assert normalise_utility(0.4, 0.4, 0.0, None)[0] is None
