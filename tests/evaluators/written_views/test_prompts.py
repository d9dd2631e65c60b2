"""What writers are asked and how their answers are read. Oracle: answers as models really word them, read by hand."""

from __future__ import annotations

import pytest

from tests.support.written_views import PASSAGE, SHORT, view
from unlearn_sweep.evaluators.benchmarks.view_settings import KINDS
from unlearn_sweep.evaluators.written_views.prompts import STYLES, Text, messages, texts_in

PAIR = Text("Who keeps it?", "Orla Beck")


@pytest.mark.parametrize(
    "said",
    [
        "Question: Who keeps it?\nAnswer: Orla Beck",
        "1. Question: Who keeps it?\n   Answer: Orla Beck",
        "**Question:** Who keeps it?\n**Answer:** Orla Beck\n",
        "Q1: Who keeps it?\nA1: Orla Beck",
        "Here they are:\n\nQuestion: Who\nkeeps it?\n\nAnswer: Orla Beck",
    ],
)
def test_pairs_are_read_in_the_forms_models_write(said: str) -> None:
    assert texts_in(view("questions_from_text"), said) == [PAIR]
    assert texts_in(view("questions_from_text"), f"{said}\n\n{said}") == [PAIR, PAIR]


def test_half_a_pair_is_none() -> None:
    assert texts_in(view("questions_from_text"), "Question: Who keeps it?") == []
    assert texts_in(view("questions_from_text"), "Question:\nAnswer: Orla Beck") == []


@pytest.mark.parametrize(
    "said", ["It is Orla Beck.", '"It is Orla Beck."', "Answer: It is Orla Beck.", " It is\nOrla Beck. "]
)
def test_a_text_is_read_without_labels_and_quotation_marks(said: str) -> None:
    assert texts_in(view("paraphrase", "answer"), said) == [Text(None, "It is Orla Beck.")]
    assert texts_in(view("paraphrase", "question"), said) == [Text("It is Orla Beck.", None)]


def test_a_text_in_quotation_marks_inside_keeps_them() -> None:
    assert texts_in(view("paraphrase", "answer"), 'She wrote "Salt".') == [Text(None, 'She wrote "Salt".')]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_the_row_and_varies(kind: str) -> None:
    row = PASSAGE if kind in ("summary", "questions_from_text") else SHORT
    written = view(kind, "answer" if kind == "paraphrase" else None)
    asked = [messages(written, row, variation)[0]["content"] for variation in range(2 * len(STYLES))]
    assert all((row.question or row.answer) in text for text in asked)
    assert "{" not in asked[0]
    varied = 1 if KINDS[kind].pairs else 2 * len(STYLES)
    assert len(set(asked)) == varied
