"""Is a short answer right? The generation begins with, or contains, the reference, word for word when normalised."""

from __future__ import annotations

import math
import unicodedata

from unlearn_sweep.evaluators.words import normalised, split_unspaced


def normalised_words(text: str) -> list[str]:
    """Words compared by `answer_match`: compatibility-normalised (NFKC), case folded, without punctuation.

    As in SQuAD's scorer punctuation is deleted, not replaced ("1,000" and "1000" agree). Articles stay, because "A" may
    be the whole answer of a multiple-choice question. In scripts without spaces every character is a word.
    """
    bare = "".join(mark for mark in normalised(text) if not unicodedata.category(mark).startswith("P"))
    return [word for piece in bare.split() for word in split_unspaced(piece)]


def answer_match(reference: str, generation: str) -> float:
    """1.0 where the generation equals the reference or begins with all its words, else 0.0; NaN for an empty reference.

    Whole words: "Pariser Platz" does not match "Paris"; whole characters in scripts without spaces. Lower is better on
    what is to be forgotten.
    """
    wanted = normalised_words(reference)
    if not wanted:
        return math.nan
    return float(normalised_words(generation)[: len(wanted)] == wanted)


def answer_contained(reference: str, generation: str) -> float:
    """1.0 where all words of the reference stand in the generation, in one piece, else 0.0; NaN for no reference.

    For answers in whole sentences, where `answer_match` asks for the exact beginning. A long ramble that happens to
    name the answer counts, so read it beside a fluency metric.
    """
    wanted, given = normalised_words(reference), normalised_words(generation)
    if not wanted:
        return math.nan
    return float(any(given[start : start + len(wanted)] == wanted for start in range(len(given) - len(wanted) + 1)))
