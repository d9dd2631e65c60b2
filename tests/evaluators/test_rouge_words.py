"""RWKU's ROUGE-L recall. Oracle: figures that the package `rouge` 1.0.1, which RWKU calls, gave for these texts."""

from __future__ import annotations

import pytest

from unlearn_sweep.evaluators.rouge_words import distinct_word_recall
from unlearn_sweep.evaluators.row_metrics import Measured, row_metric
from unlearn_sweep.evaluators.rows import Row


@pytest.mark.parametrize(
    ("answer", "reference", "recall"),
    [
        ("Basil Mahfouz wrote it.", "Basil Mahfouz", 1.0),
        ("basil mahfouz", "Basil Mahfouz", 0.0),
        ("He was born in Seoul. He lived there.", "born in Seoul, South Korea", 0.4),
        ("the cat the cat", "the cat the dog", 2 / 3),
        ("running fast", "run fast", 0.5),
        ("", "Paris", 0.0),
        ("Paris,", "Paris", 0.0),
        ("U.S.A.", "U.S.A.", 1.0),
        ("a b c d", "d c b a", 0.25),
        ("Selkie since keeps 1984, Selkie the it. keeper", "Port keeps keeps by sea. Port by sea. Beck", 0.2),
        ("the keeps by 1984, Port Beck by by keeps the sea.", "lighthouse keeper the Orla a", 0.2),
        ("keeper Beck", "by keeper Port by it. sea.", 0.2),
    ],
)
def test_recall_is_that_of_the_package(answer: str, reference: str, recall: float) -> None:
    assert distinct_word_recall(reference, answer) == pytest.approx(recall, abs=1e-9)
    row = Row(row_id="r", group_id="r", split="forget", question="Who?", answer=reference)
    measured = Measured(row=row, reference=reference, generation=answer)
    assert row_metric("rouge_rwku")(measured) == pytest.approx(recall, abs=1e-9)


def test_a_text_of_nothing_but_full_stops_has_no_words() -> None:
    assert distinct_word_recall("...", "Paris") == 0.0
    assert distinct_word_recall("Paris", "...") == 0.0
