"""Membership scores. Oracles: scikit-learn, tables of five tokens worked out by hand, and draws made one by one."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from unlearn_sweep.evaluators.membership import area_under_curve, min_k, min_k_plus_plus, privleak, zlib_score

FIVE = np.array([-0.1, -3.0, -0.5, -2.0, -1.0], dtype=np.float32)
SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)


def ones(count: int) -> np.ndarray:
    return np.ones((1, count))


def test_min_k_of_five_tokens_by_hand() -> None:
    assert min_k(FIVE, share=0.4) == pytest.approx((3.0 + 2.0) / 2)
    assert min_k(FIVE, share=0.2) == pytest.approx(3.0)
    assert min_k(FIVE, share=0.01) == pytest.approx(3.0), "one token always counts"
    assert min_k(FIVE, share=1.0) == pytest.approx(6.6 / 5), "all of them: the mean negative log-likelihood"
    assert math.isnan(min_k(FIVE[:0]))


def test_min_k_plus_plus_of_five_tokens_by_hand() -> None:
    """z = (logp - mean) / sd: -0.1, -1, 0.5, 0.5, -1; the lowest two are -1 and -1."""
    mean = np.array([0.0, -2.0, -1.0, -3.0, 0.0], dtype=np.float32)
    variance = np.array([1.0, 1.0, 1.0, 4.0, 1.0], dtype=np.float32)
    assert min_k_plus_plus(FIVE, mean, variance, share=0.4) == pytest.approx(1.0)
    assert min_k_plus_plus(FIVE, mean, variance, share=1.0) == pytest.approx((0.1 + 1 - 0.5 - 0.5 + 1) / 5)
    flat = np.zeros(5, dtype=np.float32)
    assert math.isfinite(min_k_plus_plus(FIVE, mean, flat)), (
        "a distribution without spread has a floor under its variance"
    )


def test_zlib_divides_by_what_the_text_compresses_to() -> None:
    text = "the tin harbour " * 20
    assert zlib_score(2.0, text) == pytest.approx(2.0 / len(zlib.compress(text.encode())))
    assert zlib_score(2.0, text) > zlib_score(2.0, text + "and nothing repeats itself here, 93 x 17")
    assert math.isnan(zlib_score(2.0, ""))
    assert math.isnan(zlib_score(math.nan, text))


@given(SCORES, SCORES)
def test_the_area_is_scikit_learns(members: list[float], strangers: list[float]) -> None:
    labels = [0] * len(members) + [1] * len(strangers)
    found = area_under_curve(np.array(members), np.array(strangers), ones(len(members)), ones(len(strangers)))
    assert found[0] == pytest.approx(roc_auc_score(labels, members + strangers))


@given(SCORES, SCORES, st.integers(0, 2**16))
def test_weights_are_repetitions(members: list[float], strangers: list[float], seed: int) -> None:
    draw = np.random.default_rng(seed)
    first, second = draw.integers(0, 3, len(members)), draw.integers(0, 3, len(strangers))
    found = area_under_curve(
        np.array(members), np.array(strangers), first[None].astype(float), second[None].astype(float)
    )
    if not first.any() or not second.any():
        assert math.isnan(found[0])
        return
    repeated = [*np.repeat(members, first), *np.repeat(strangers, second)]
    labels = [0] * int(first.sum()) + [1] * int(second.sum())
    assert found[0] == pytest.approx(roc_auc_score(labels, repeated))


def test_privleak_by_hand() -> None:
    """MUSE: 0 where the areas agree, -100 where every member is recognised, positive where gold's is undercut."""
    found = privleak(np.array([0.5, 1.0, 0.75, 0.25, 0.3]), np.array([0.5, 0.5, 0.5, 0.5, 1.0]))
    assert found[:4].tolist() == [0.0, -100.0, -50.0, 50.0]
    assert math.isnan(found[4])


def test_privleak_of_a_published_row() -> None:
    """MUSE's own form on flipped areas: (A_u - A_g) / A_g * 100, with its stored gold area of News, 0.4772."""
    flipped_unlearned, flipped_gold = 0.0010, 0.4772
    found = privleak(np.array([1 - flipped_unlearned]), np.array([1 - flipped_gold]))
    assert found[0] == pytest.approx((flipped_unlearned - flipped_gold) / flipped_gold * 100)
    assert found[0] == pytest.approx(-99.79, abs=0.01)
