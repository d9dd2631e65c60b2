"""Is what a model writes still language? Variety of word n-grams: low where a text repeats itself or breaks off.

A text that holds no forgotten fact because it holds no sense is not unlearned. These metrics belong to utility.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.words import split_unspaced

if TYPE_CHECKING:
    from nltk.tokenize.destructive import NLTKWordTokenizer

ENTROPY_WEIGHTS = ((2, 2 / 3), (3, 4 / 3))
"""Length of the n-grams and what their entropy counts, as in RWKU (after Zhang et al. 2018)."""
DISTINCT_LENGTH = 4


def words(text: str) -> list[str]:
    """Words and punctuation marks by NLTK's rules, which need no downloaded model.

    `nltk.word_tokenize`, which RWKU calls, splits sentences first; the two differ where a sentence ends inside a text,
    by how the full stop is cut off. In scripts without spaces every character is a word, with its combining marks.
    """
    return [word for piece in _tokenizer().tokenize(text) for word in split_unspaced(piece)]


def entropy(tokens: list[str], length: int) -> float:
    """Entropy in bits of the n-grams of this length; 0 where there is at most one kind of them."""
    grams = Counter(zip(*(tokens[start:] for start in range(length)), strict=False))
    total = grams.total()
    return -sum(count / total * math.log2(count / total) for count in grams.values()) if total else 0.0


def ngram_entropy(text: str) -> float:
    """100 times the mean of 2/3 of the entropy of bigrams and 4/3 of that of trigrams, in bits; at least 0.

    RWKU's "fluency" (Jin et al. 2024, arXiv 2406.10890) and JensUn's "Rep". About 700 for 256 tokens of good prose; it
    grows with length, so values are comparable only under one token limit. 0 for an empty text.
    """
    tokens = words(text)
    weighted = [weight * entropy(tokens, length) for length, weight in ENTROPY_WEIGHTS]
    return 100.0 * sum(weighted) / len(weighted) + 0.0


def distinct_ngrams(text: str, *, length: int = DISTINCT_LENGTH) -> float:
    """Share in [0, 1] of n-grams that are no repetition of an earlier one; 1 - Rep-n of Welleck et al. 2019.

    NaN for a text of fewer words than that: it cannot repeat itself.
    """
    tokens = words(text)
    grams = list(zip(*(tokens[start:] for start in range(length)), strict=False))
    return len(set(grams)) / len(grams) if grams else math.nan


@functools.cache
def _tokenizer() -> NLTKWordTokenizer:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()
