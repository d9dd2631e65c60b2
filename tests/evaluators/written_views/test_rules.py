"""What a written text has to pass. Oracle: sentences written by hand, each good or with one fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.written_views import PASSAGE, ROW, SHORT, view
from unlearn_sweep.evaluators.benchmarks.view_settings import WrittenView
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.written_views.prompts import Text, texts_in
from unlearn_sweep.evaluators.written_views.rules import Context, fault_of, names_in, numbers

PLAIN = replace(SHORT, question="What does Orla Beck do?", answer="Orla Beck keeps a light and a small farm.")
ANSWER, QUESTION = view("paraphrase", "answer"), view("paraphrase", "question")
CASES = [
    (ANSWER, ROW, "It is Basil Mahfouz Al-Kuwaiti who was born there; 12 novels are by him.", None),
    (ANSWER, ROW, ROW.answer.upper(), "the answer as it was"),
    (ANSWER, ROW, "It is Basil Mahfouz Al-Kuwaiti, a writer of novels.", "a number is lost (12)"),
    (ANSWER, ROW, "He wrote 12 novels and was born there.", "names are lost"),
    (ANSWER, ROW, "I'm sorry, but I cannot help with that.", "a refusal"),
    (ANSWER, ROW, "?!", "no words"),
    (ANSWER, ROW, "Basil Mahfouz Al-Kuwaiti wrote 12 novels. " * 20, "much longer than the answer"),
    (ANSWER, PLAIN, "She keeps both a light and a farm for the town.", None),
    (ANSWER, PLAIN, "Yes, I can provide that answer for you.", "says something else"),
    (ANSWER, SHORT, "It is Orla Beck.", None),
    (ANSWER, SHORT, "It is Orla.", "the answer is lost"),
    (QUESTION, SHORT, "Whose task is it to keep the Vantry light?", None),
    (QUESTION, SHORT, "Does Orla Beck keep the light of Vantry?", "the answer is in the question"),
    (QUESTION, SHORT, "Tell me of the light.", "no question"),
    (QUESTION, SHORT, "who keeps the light of VANTRY", "the question as it was"),
    (view("summary"), PASSAGE, "Orla Beck keeps the lighthouse of Vantry and is paid 13 sacks of salt.", None),
    (view("summary"), PASSAGE, PASSAGE.answer + " Indeed.", "not shorter than the text"),
    (view("summary"), PASSAGE, "the council of Vantry pays 13 sacks of salt a year for it.", "a piece of the text"),
    (view("summary"), PASSAGE, "Somebody keeps a house.", "no name or number of the text"),
    (view("summary"), PASSAGE, "Vantry enjoys splendid beaches and museums.", "says what the text does not"),
    (view("alternate_answer"), ROW, "The author born there in 1956 is Nasser Al-Sabah, who wrote 9 novels.", None),
    (view("alternate_answer"), ROW, f"Surely: {ROW.answer}", "holds the right answer"),
    (
        view("alternate_answer"),
        ROW,
        "There is Basil Mahfouz Al-Kuwaiti with 12 books.",
        "gives every name and number of the right answer",
    ),
    (view("vague_answer"), ROW, "An author from there, whose books have found many readers.", None),
    (view("vague_answer"), ROW, f"Surely: {ROW.answer}", "holds the right answer"),
    (view("alternate_answer"), SHORT, "Tomas Arn", None),
    (view("alternate_answer"), SHORT, "It is Orla Beck.", "holds the right answer"),
    (view("alternate_answer"), SHORT, "I don't know.", "a refusal"),
    (view("alias"), SHORT, "Who looks after the westernmost light of the bay?", None),
    (view("alias"), SHORT, "Who looks after the light of Vantry?", "names its subject"),
    (view("multi_hop"), SHORT, "Who keeps the light of the town that pays in salt?", None),
    (view("multi_hop"), SHORT, "Does Orla Beck keep it?", "the answer is in the question"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "row", "text", "reason"), CASES)
def test_reason(written: WrittenView, row: Row, text: str, reason: str | None) -> None:
    (found,) = texts_in(written, text) or [Text(None, text)]
    assert fault_of(written, row, found, Context()) == reason


PAIRS = [
    ("Who keeps the lighthouse of Vantry?", "Orla Beck", None),
    ("Orla keeps it.", "Orla Beck", "no question"),
    ("Who does the text say keeps it?", "Orla Beck", "points at the text"),
    ("Is it Orla Beck who keeps it?", "Orla Beck", "the answer is in the question"),
    ("Who keeps the lighthouse of Vantry?", "Marguerite Delacroix", "the text does not answer it"),
    ("How many sacks are paid a year?", "13", None),
    ("How many sacks are paid a year?", "14", "the text does not answer it"),
]


@pytest.mark.parametrize(("question", "answer", "reason"), PAIRS)
def test_reason_of_a_question_from_text(question: str, answer: str, reason: str | None) -> None:
    assert fault_of(view("questions_from_text"), PASSAGE, Text(question, answer), Context()) == reason


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("What burns in a lighthouse?", "A lamp", None),
        ("who keeps the light of vantry?", "Nobody", "a forget question"),
        ("Who lives at sea?", "Orla Beck does", "gives a forget answer"),
        ("Lamps burn.", "Oil", "no question"),
    ],
)
def test_reason_of_a_relearning_question(question: str, answer: str, reason: str | None) -> None:
    context = Context(taken_questions={"who keeps the light of vantry"}, taken_answers=["Orla Beck"])
    topic = Row(row_id="t", group_id="t", split="", question="lighthouses", answer="")
    assert fault_of(view("relearn_set"), topic, Text(question, answer), context) == reason


def test_the_same_text_twice_is_refused() -> None:
    kept = Context(kept=[Text(None, "It is Orla Beck.")])
    assert fault_of(ANSWER, SHORT, Text(None, "it is ORLA BECK"), kept) == "the same as another text of this row"


def test_names_and_numbers() -> None:
    assert names_in("Born in Kuwait City, Basil wrote. Later he left for Oslo.") == {"kuwait", "city", "basil", "oslo"}
    assert numbers("In 1,956 and 3.5 or 7.") == {"1956", "3.5", "7"}
    assert names_in("在科威特城出生") == set()
