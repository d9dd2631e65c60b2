"""Short answers against one of several right ones: exact match and F1 of words, as SQuAD's and TriviaQA's scorers do.

RWKU (arXiv 2406.10890) scores reasoning (BBH) by the first and factuality (TriviaQA) by the second.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from unlearn_sweep.evaluators.words import normalised, split_unspaced

ARTICLES = re.compile(r"\b(a|an|the)\b")


def plain_words(text: str) -> list[str]:
    """Case folded (NFKC), without punctuation and articles. An answer that is nothing but an article keeps its letter.

    SQuAD's scorer leaves "(A)" without a word and equal to any other such answer; of a multiple-choice answer that
    would be right by accident. In scripts without spaces every character is a word.
    """
    bare = "".join(mark for mark in normalised(text) if not _punctuation(mark))
    return [word for piece in ARTICLES.sub(" ", bare).split() or bare.split() for word in split_unspaced(piece)]


def exact_match(accepted: Sequence[str], answer: str) -> float:
    """1.0 where the answer is one of the accepted ones, word for word, else 0.0."""
    given = plain_words(answer)
    return float(any(plain_words(right) == given for right in accepted))


def same_text(reference: str, answer: str) -> float:
    """1.0 where both are the same text but for case and outer white space, else 0.0 (LUME, arXiv 2502.15097)."""
    return float(reference.strip().lower() == answer.strip().lower())


def answer_f1(accepted: Sequence[str], answer: str) -> float:
    """F1 in [0, 1] of the words of the answer and of the accepted one nearest to it, words counted as often as said."""
    return max((_f1(plain_words(right), plain_words(answer)) for right in accepted), default=0.0)


def _punctuation(mark: str) -> bool:
    return mark in string.punctuation or unicodedata.category(mark).startswith("P")


def _f1(right: Sequence[str], given: Sequence[str]) -> float:
    if not right or not given:
        return float(list(right) == list(given))
    common = (Counter(right) & Counter(given)).total()
    return 2.0 * common / (len(right) + len(given))
