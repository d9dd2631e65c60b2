"""Superficial forgetting. Oracles: worked out by hand from made answers, and `rouge-score` for one of them."""

from __future__ import annotations

import pandas as pd
import pytest
from rouge_score.rouge_scorer import RougeScorer

from unlearn_sweep.evaluators.rouge import rouge_1_recall
from unlearn_sweep.evaluators.superficial import superficial_forgetting

LINES = [
    # fact, form, answer; the reference of fact a is "one two three four", of b "five six".
    ("a", "trained", "nothing"),  # 0
    ("a", "held_out", "four three"),  # 1/2, in any order
    ("a", "held_out", "one two three four"),  # 1
    ("a", "in_context", "one two three four"),  # is no other wording
    ("b", "trained", "six five"),  # 1
    ("b", "held_out", "five"),  # 1/2
    ("c", "trained", "one"),  # is asked in one wording only
]
REFERENCES = {"a": "one two three four", "b": "five six", "c": "one"}


def rows(lines: list[tuple[str, str, str]] = LINES) -> pd.DataFrame:
    table = pd.DataFrame(lines, columns=["fact_id", "form", "generation"])
    return table.assign(row_id=[f"r{i}" for i in range(len(table))], split="forget")


def references(table: pd.DataFrame) -> dict[str, str]:
    return {row: REFERENCES[fact] for row, fact in zip(table["row_id"], table["fact_id"], strict=True)}


def test_it_is_the_trained_question_less_the_mean_of_the_others() -> None:
    """a: 0 - (1/2 + 1) / 2 = -3/4; b: 1 - 1/2; their mean is -1/8. The facts differ, so there is an error."""
    table = rows()
    found = superficial_forgetting(table, references(table))
    assert found.value == pytest.approx(-0.125)
    assert found.facts == 2
    assert found.error is not None
    assert found.error > 0


def test_words_count_in_any_order_and_stemmed() -> None:
    reference, answer = "She wrote stories of running rivers", "rivers run; stories were written"
    library = RougeScorer(["rouge1"], use_stemmer=True).score(reference, answer)["rouge1"].recall
    assert rouge_1_recall(reference, answer) == pytest.approx(library)
    assert rouge_1_recall("...", answer) != rouge_1_recall("...", answer)


def test_what_cannot_be_compared_is_refused() -> None:
    table = rows([line for line in LINES if line[0] == "c"])
    with pytest.raises(ValueError, match="asked both as it was trained and in other words"):
        superficial_forgetting(table, references(table))
    with pytest.raises(ValueError, match="no metric of the sweep generates any"):
        superficial_forgetting(rows().drop(columns="generation"), references(rows()))
