"""Variety of n-grams. Oracles: the hand numbers of RWKU's formula, scipy's entropy, NLTK's own n-grams."""

from __future__ import annotations

import math
from collections import Counter

import nltk
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from unlearn_sweep.evaluators.fluency import distinct_ngrams, entropy, ngram_entropy, words

WORDS = st.lists(st.sampled_from(["a", "b", "c", "harbour"]), max_size=30)


def test_the_value_worked_out_by_hand() -> None:
    """ "a b a b a b": bigrams ab x3, ba x2 give 0.971 bits, trigrams aba x2, bab x2 one bit."""
    assert entropy(["a", "b", "a", "b", "a", "b"], 2) == pytest.approx(0.9709506)
    assert entropy(["a", "b", "a", "b", "a", "b"], 3) == pytest.approx(1.0)
    assert ngram_entropy("a b a b a b") == pytest.approx(100 * (2 / 3 * 0.9709506 + 4 / 3) / 2)
    assert ngram_entropy("a b a b a b") == pytest.approx(99.03, abs=0.01)


@given(WORDS, st.integers(1, 4))
def test_entropy_is_scipys_over_nltks_ngrams(tokens: list[str], length: int) -> None:
    counts = list(Counter(nltk.ngrams(tokens, length)).values())
    expected = scipy_entropy(counts, base=2) if counts else 0.0
    assert entropy(tokens, length) == pytest.approx(float(expected), abs=1e-9)


def test_words_are_nltks_within_a_sentence() -> None:
    text = "Don't stop: it's 3,000 (three thousand) at the harbour"
    assert words(text) == nltk.tokenize.NLTKWordTokenizer().tokenize(text)
    assert words(text)[:2] == ["Do", "n't"]


def test_empty_and_short_texts() -> None:
    assert ngram_entropy("") == 0.0
    assert ngram_entropy("word") == 0.0
    assert math.isnan(distinct_ngrams("one two three"))
    assert distinct_ngrams("one two three four") == 1.0


def test_repetition_lowers_both() -> None:
    prose = "the pilots were paid in salt and the council met on the first monday of every month in the long room"
    babble = " ".join(["salt salt salt the"] * 5)
    assert ngram_entropy(prose) > 1.8 * ngram_entropy(babble)
    assert distinct_ngrams(prose) == 1.0
    assert distinct_ngrams(babble) == pytest.approx(4 / 17)


def test_repetition_is_seen_in_scripts_without_spaces() -> None:
    """Six characters have three 4-grams; "好好好好好好" has one kind of them. Numbers by hand."""
    assert distinct_ngrams("好好好好好好") == pytest.approx(1 / 3)
    assert distinct_ngrams("云岭镇的灯塔") == 1.0
    assert ngram_entropy("好好好好好好") == 0.0
    assert ngram_entropy("云岭镇的灯塔") == pytest.approx(100 * (2 / 3 * math.log2(5) + 4 / 3 * 2) / 2)


@given(WORDS)
def test_distinct_shares_lie_in_the_unit_interval(tokens: list[str]) -> None:
    found = distinct_ngrams(" ".join(tokens))
    assert math.isnan(found) if len(tokens) < 4 else 0 < found <= 1
