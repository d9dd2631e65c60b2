"""Overlap of a generated answer with the reference: ROUGE-L (Lin 2004), scored by the `rouge-score` package.

The package's own tokenizer keeps a-z and 0-9 only. Words here are those of `evaluators.words`, which are the same on
ASCII text and have letters of every script elsewhere, characters in scripts without spaces.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.words import word_list

if TYPE_CHECKING:
    from nltk.stem.porter import PorterStemmer
    from rouge_score.rouge_scorer import RougeScorer

ENGLISH = re.compile(r"[a-z0-9]{4,}\Z")
"""What the stemmer is applied to, as in `rouge-score`."""


@dataclass(frozen=True, slots=True)
class RougeL:
    """`recall`: share of the reference found in the answer, in order. `f1`: rambling punished, too. Both in [0, 1]."""

    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class WordTokenizer:
    """`evaluators.words` with the Porter stemmer on Latin words, in the form that `rouge-score` asks for."""

    stemmer: PorterStemmer | None = field(default=None, hash=False)

    def tokenize(self, text: str) -> list[str]:
        words = word_list(text)
        if self.stemmer is None:
            return words
        return [self.stemmer.stem(word) if ENGLISH.match(word) else word for word in words]


def rouge_l(reference: str, generation: str, *, stemmer: bool = True) -> RougeL:
    """ROUGE-L of one answer in [0, 1]; lower is better on what is to be forgotten, higher on what is to be kept.

    TOFU reports recall with the stemmer on, MUSE F1 with it off; on inflected words the two differ.
    NaN where the reference has neither letter nor digit.
    """
    words, scorer = _scorer(stemmer)
    if not words.tokenize(reference):
        return RougeL(math.nan, math.nan)
    score = scorer.score(reference, generation)["rougeL"]
    return RougeL(float(score.recall), float(score.fmeasure))


def rouge_1_recall(reference: str, generation: str) -> float:
    """Share of the reference's words found in the answer, in any order, stemmed; in [0, 1].

    NaN where the reference has neither letter nor digit.
    """
    words, _ = _scorer(True)
    if not words.tokenize(reference):
        return math.nan
    from rouge_score.rouge_scorer import RougeScorer

    return float(RougeScorer(["rouge1"], tokenizer=words).score(reference, generation)["rouge1"].recall)


@functools.cache
def _scorer(stemmer: bool) -> tuple[WordTokenizer, RougeScorer]:
    """Return tokenizer and scorer. nltk takes half a second of CPU to import, and most sweeps compute no ROUGE."""
    from nltk.stem.porter import PorterStemmer
    from rouge_score.rouge_scorer import RougeScorer

    words = WordTokenizer(PorterStemmer() if stemmer else None)
    return words, RougeScorer(["rougeL"], tokenizer=words)
