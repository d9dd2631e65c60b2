"""Exact memorization and extraction strength. Oracles: open-unlearning's values and the definitions by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.evaluators.memorization import exact_memorization, extraction_strength

TOKENS = st.lists(st.booleans(), min_size=1, max_size=20)


def by_definition(correct: list[bool]) -> float:
    """1 - k/n for the least k with every position from k on correct."""
    n = len(correct)
    return 1 - next(k for k in range(n + 1) if all(correct[k:])) / n


def as_open_unlearning(correct: list[bool]) -> float:
    """Its loop: k runs over 0..n-1 and stops at the first correct suffix, so that k = n is never reached."""
    k = 0
    for k in range(len(correct)):
        if all(correct[k:]):
            break
    return 1 - k / len(correct)


@given(TOKENS)
def test_extraction_strength_is_its_definition(correct: list[bool]) -> None:
    assert extraction_strength(np.array(correct)) == pytest.approx(by_definition(correct))


@given(TOKENS)
def test_the_open_unlearning_floor_is_that_codes_value(correct: list[bool]) -> None:
    found = extraction_strength(np.array(correct), floor="open_unlearning")
    assert found == pytest.approx(as_open_unlearning(correct))


@pytest.mark.parametrize(
    ("correct", "ours", "open_unlearning"),
    [
        ([True, True, True, True], 1.0, 1.0),
        ([False, False, False, True], 0.25, 0.25),
        ([False, False, False, False], 0.0, 0.25),
        ([True, True, True, False], 0.0, 0.25),
        ([False] * 5, 0.0, 0.2),
    ],
)
def test_extraction_strength_by_hand(correct: list[bool], ours: float, open_unlearning: float) -> None:
    assert extraction_strength(np.array(correct)) == ours
    assert extraction_strength(np.array(correct), floor="open_unlearning") == open_unlearning


@given(TOKENS)
def test_exact_memorization_is_the_share_and_never_below_the_suffix(correct: list[bool]) -> None:
    found = exact_memorization(np.array(correct))
    assert found == pytest.approx(sum(correct) / len(correct))
    assert extraction_strength(np.array(correct)) <= found


def test_an_empty_answer_has_no_value() -> None:
    empty = np.empty(0, dtype=np.bool_)
    assert math.isnan(exact_memorization(empty))
    assert math.isnan(extraction_strength(empty))
    assert math.isnan(extraction_strength(empty, floor="open_unlearning"))
