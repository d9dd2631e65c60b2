"""Rules that a written text has to pass. Each fault is a short reason; None means that the text is kept.

The rules are about words and need no model. `judge_check` asks a judge for what they cannot see.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from unlearn_sweep.evaluators.answer_match import answer_contained
from unlearn_sweep.evaluators.benchmarks.view_settings import WrittenView
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.words import SENTENCE_ENDS, folded_text, word_list
from unlearn_sweep.evaluators.written_views.prompts import Text

REFUSAL = re.compile(
    r"^\W*(?:i'?m sorry|i am sorry|sorry|i can(?:no|')t|i cannot|i do(?:n't| not) (?:know|have)|as an ai)\b",
    re.IGNORECASE,
)
POINTS_AT_TEXT = re.compile(
    r"\b(?:the|this|that|above) (?:text|passage|article|paragraph|excerpt|document|author of this)\b", re.IGNORECASE
)
ENDS_ASKING = ("?", "\uff1f", "\u061f")
NUMBER = re.compile(r"\d[\d.,]*\d|\d")
SHORT_WORDS = 4
"""An answer of at most so many words has to be kept whole."""
KEPT_NAMES = 0.5
KEPT_WORDS = 0.2
SUMMARY_SHARE = 0.8
SUPPORTED = 2 / 3
LONGEST, SPARE_WORDS = 3.0, 12
"""A wording is at most so many times as long as what it rewords, and some words more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a text is held against besides its row: texts kept for the row so far, questions and answers taken."""

    kept: Sequence[Text] = ()
    taken_questions: Collection[str] = ()
    taken_answers: Collection[str] = ()


def fault_of(view: WrittenView, row: Row, text: Text, context: Context) -> str | None:
    """The reason to refuse a text; None if it passes."""
    found = _form(text) or _again(text, context)
    if found is not None:
        return found
    match view.kind:
        case "paraphrase":
            return _paraphrase(row, text)
        case "summary":
            return _summary(row, text.answer or "")
        case "alternate_answer":
            return _alternate(row, text.answer or "")
        case "vague_answer":
            return _vague(row, text)
        case "questions_from_text":
            return _from_text(row, text)
        case "relearn_set":
            return _harmless(text, context)
        case "alias":
            return _reworded_question(row, text.question or "") or _names_subject(row, text.question or "")
        case "multi_hop":
            return _reworded_question(row, text.question or "")


def _form(text: Text) -> str | None:
    for part in (text.question, text.answer):
        if part is not None and not word_list(part):
            return "no words"
        if part is not None and REFUSAL.match(part):
            return "a refusal"
    return None


def _again(text: Text, context: Context) -> str | None:
    new = _folded(text)
    return "the same as another text of this row" if any(_folded(other) == new for other in context.kept) else None


def _folded(text: Text) -> tuple[str, ...]:
    return tuple(" ".join(word_list(part)) for part in (text.question or "", text.answer or ""))


def _paraphrase(row: Row, text: Text) -> str | None:
    found = None if text.question is None else _reworded_question(row, text.question)
    return found if found is not None or text.answer is None else _reworded_answer(row, text.answer)


def _reworded_question(row: Row, question: str) -> str | None:
    """A question in other words asks, is another text, and gives the answer away no more than the row's own."""
    if word_list(question) == word_list(row.question):
        return "the question as it was"
    if not question.rstrip().endswith(ENDS_ASKING) and row.question.rstrip().endswith(ENDS_ASKING):
        return "no question"
    if _holds(row.answer, question) and not _holds(row.answer, row.question):
        return "the answer is in the question"
    return "much longer than the question" if _too_long(question, row.question) else None


def _reworded_answer(row: Row, answer: str) -> str | None:
    """An answer in other words is another text and keeps the facts: numbers, most names, a short answer whole.

    It also shares some of the words that the answer adds to the question, since not every answer has a name or number.
    """
    if word_list(answer) == word_list(row.answer):
        return "the answer as it was"
    if len(word_list(row.answer)) <= SHORT_WORDS:
        return None if _holds(row.answer, answer) else "the answer is lost"
    if lost := sorted(numbers(row.answer) - numbers(answer) - numbers(row.question)):
        return f"a number is lost ({lost[0]})" if len(lost) == 1 else "numbers are lost"
    names = names_in(row.answer) - names_in(row.question) - set(word_list(row.question))
    if names and len(names & set(word_list(answer))) < KEPT_NAMES * len(names):
        return "names are lost"
    told = _content(row.answer) - set(word_list(row.question))
    if len(told & set(word_list(answer))) < KEPT_WORDS * len(told):
        return "says something else"
    return "much longer than the answer" if _too_long(answer, row.answer) else None


def _summary(row: Row, summary: str) -> str | None:
    """A summary is shorter, is no piece of the text, and shares names or numbers with it where it has any."""
    words, source = word_list(summary), word_list(row.answer)
    if len(words) > SUMMARY_SHARE * len(source):
        return "not shorter than the text"
    if folded_text(summary) in folded_text(row.answer):
        return "a piece of the text"
    anchors = numbers(row.answer) | names_in(row.answer)
    if anchors and not anchors & ({*words} | numbers(summary)):
        return "no name or number of the text"
    return None if supported(summary, row.answer) else "says what the text does not"


def _alternate(row: Row, answer: str) -> str | None:
    """A wrong answer neither holds the right one nor repeats every name and number that it gives."""
    if _holds(row.answer, answer) or word_list(answer) == word_list(row.answer):
        return "holds the right answer"
    if len(word_list(row.answer)) > SHORT_WORDS:
        told = (numbers(row.answer) | names_in(row.answer)) - numbers(row.question) - set(word_list(row.question))
        if told and told <= {*word_list(answer)} | numbers(answer):
            return "gives every name and number of the right answer"
    return "much longer than the right answer" if _too_long(answer, row.answer) else None


def _vague(row: Row, text: Text) -> str | None:
    """A vague answer has none of the names and numbers that the right one adds to the question, and not all of it."""
    if text.question is not None and (found := _reworded_question(row, text.question)) is not None:
        return found
    answer = text.answer or ""
    if _holds(row.answer, answer):
        return "holds the right answer"
    told = (numbers(row.answer) | names_in(row.answer)) - numbers(row.question) - set(word_list(row.question))
    if given := sorted(told & ({*word_list(answer)} | numbers(answer))):
        return f"gives away a name or number ({given[0]})"
    return "much longer than the right answer" if _too_long(answer, row.answer) else None


def _from_text(row: Row, text: Text) -> str | None:
    """A question about a text asks, stands by itself, does not hold its answer, and the text answers it."""
    question, answer = text.question or "", text.answer or ""
    if not question.rstrip().endswith(ENDS_ASKING):
        return "no question"
    if POINTS_AT_TEXT.search(question):
        return "points at the text"
    if _holds(answer, question):
        return "the answer is in the question"
    return None if supported(answer, row.answer) else "the text does not answer it"


def _harmless(text: Text, context: Context) -> str | None:
    """A relearning question is none of the forget questions and gives none of their answers."""
    if not (text.question or "").rstrip().endswith(ENDS_ASKING):
        return "no question"
    if " ".join(word_list(text.question or "")) in context.taken_questions:
        return "a forget question"
    said = f"{text.question} {text.answer}"
    return "gives a forget answer" if any(_holds(answer, said) for answer in context.taken_answers) else None


def _names_subject(row: Row, question: str) -> str | None:
    names = names_in(row.question)
    if not names:
        return "the question names nobody"
    return "names its subject" if names <= set(word_list(question)) else None


def _holds(answer: str, text: str) -> bool:
    return answer_contained(answer, text) == 1.0


def _too_long(text: str, source: str) -> bool:
    return len(word_list(text)) > LONGEST * len(word_list(source)) + SPARE_WORDS


def numbers(text: str) -> set[str]:
    """Numbers in figures, without separators."""
    return {found.replace(",", "").rstrip(".") for found in NUMBER.findall(text)}


def names_in(text: str) -> set[str]:
    """Words of the names in a text: capitalised words that begin no sentence. Scripts without capitals have none."""
    pieces = text.split()
    named = [
        piece
        for before, piece in itertools.pairwise(pieces)
        if before[-1] not in f"{SENTENCE_ENDS}:"
        and (bare := piece.lstrip("\"'(\u201c\u2018"))[:1].isupper()
        and len(bare) > 1
    ]
    return {word for piece in named for word in word_list(piece)}


def supported(text: str, source: str) -> bool:
    """Whether most words that say something stand in the source."""
    words = _content(text)
    return len(words & set(word_list(source))) >= SUPPORTED * len(words)


def _content(text: str) -> set[str]:
    """Words that say something: of more than three letters, in figures, or of other scripts."""
    return {word for word in word_list(text) if len(word) > 3 or not word.isascii() or word.isdigit()}
