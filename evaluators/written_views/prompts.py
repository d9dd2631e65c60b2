"""What a writer is asked, in our own words, and how its answer is read.

The ideas: six styles of rewriting, GAO (released code); a wrong answer that looks right, AltPO (arXiv 2409.13474);
an answer that gives nothing away, ReLearn (arXiv 2502.11190);
questions that running text answers, Full-Stack (arXiv 2510.07626); harmless questions on the same topic, JensUn
(arXiv 2509.02820). Answers are plain text or lines that begin with "Question:" and "Answer:", since small models write
those more reliably than JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_sweep.evaluators.benchmarks.view_settings import WrittenView
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.words import has_unspaced

Message = dict[str, str]

STYLES = (
    "Change the order of what is said.",
    "Use everyday words.",
    "Use a formal tone.",
    "Use other verbs and another sentence structure.",
    "Begin with what came last.",
    "Say it as if to a friend who asked.",
    "Use as few words as you can.",
    "Say it in one flowing sentence.",
)
"""How one wording differs from the next; used in turn."""
ONLY = "Write only the new text, without quotation marks, comments or labels."
PAIRS = 'Write each as two lines, the first beginning "Question:" and the second "Answer:". Write nothing else.'

TASKS = {
    "paraphrase answer": (
        "Write the answer again in other words. Keep its meaning and every name, number and date in it. {style} " + ONLY
    ),
    "paraphrase question": (
        "Ask the question again in other words. It must have the same answer, and must not give the answer away. "
        "{style} " + ONLY
    ),
    "paraphrase both": (
        "Write the question and its answer again in other words. Keep their meaning and every name, number and date in "
        'them. {style} Write two lines, the first beginning "Question:" and the second "Answer:". Write nothing else.'
    ),
    "summary": (
        "Summarise the text in about half of its length. Keep the names, numbers and dates that matter, and add "
        "nothing. {style} " + ONLY
    ),
    "alternate_answer": (
        "Write a wrong answer to the question. It must look as likely as the right one, with about the same length and "
        "form, but its names, numbers and dates must be others. Do not refuse. This is version {version}. " + ONLY
    ),
    "vague_answer": (
        "Answer the question so that nothing specific is given away: stay on its subject and sound natural, but leave "
        "out every name, number, date and place that the answer has and the question has not. Do not refuse. This is "
        "version {version}. " + ONLY
    ),
    "vague_answer both": (
        "Ask the question in other words, and answer it so that nothing specific is given away: stay on its subject "
        "and sound natural, but leave out every name, number, date and place that the answer has and the question has "
        'not. Do not refuse. This is version {version}. Write two lines, the first beginning "Question:" and the '
        'second "Answer:". Write nothing else.'
    ),
    "questions_from_text": (
        "Write {number} questions about the facts in the text, with short answers that stand in it. Each question must "
        'make sense without the text: name what it asks about, and never say "the text" or "the passage". ' + PAIRS
    ),
    "relearn_set": (
        "Write {number} questions with short, true answers on general knowledge around this topic. Leave out the "
        "questions listed as taken and their answers. " + PAIRS
    ),
    "alias": (
        "Ask the question again without naming who or what it is about: describe the subject by a role, a work or "
        "another fact, so that an expert still knows. It must have the same answer and must not give it away. "
        "This is version {version}. " + ONLY
    ),
    "multi_hop": (
        "Ask a harder question that has the same answer but needs one more step of thought: refer to the subject by "
        "way of another fact about it. Do not give the answer away. This is version {version}. " + ONLY
    ),
}
TAKEN_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a writer: a question, an answer, or both; the other is None."""

    question: str | None
    answer: str | None


def messages(view: WrittenView, row: Row, variation: int, taken: Sequence[Row] = ()) -> list[Message]:
    """What a writer is asked for a row. `variation` counts the answers asked for before; `taken` are rows to avoid."""
    name = f"{view.kind} {view.part}" if f"{view.kind} {view.part}" in TASKS else view.kind
    task = TASKS[name].format(style=STYLES[variation % len(STYLES)], version=variation + 1, number=view.number)
    again = variation // len(STYLES)
    if again and "{style}" in TASKS[name]:
        task += f" This is version {again + 1}."
    return [{"role": "user", "content": f"{task}\n\n{_shown(view, row, taken)}"}]


def _shown(view: WrittenView, row: Row, taken: Sequence[Row]) -> str:
    """The row as it is shown to the writer."""
    if view.kind == "relearn_set":
        listed = "\n".join(f"- {other.question} {other.answer}" for other in taken[:TAKEN_SHOWN])
        return f"Topic: {row.question}" + (f"\nTaken:\n{listed}" if listed else "")
    if not row.question.strip():
        return f"Text: {row.answer}"
    return f"Question: {row.question}\nAnswer: {row.answer}"


SPARE_TOKENS, PAIR_TOKENS = 40, 96
TOKENS_PER_CHARACTER, TOKENS_PER_UNSPACED = 0.6, 2.0
"""Twice what texts in Latin script have, and what byte-level tokenizers make of scripts without spaces."""


def answer_tokens(view: WrittenView, row: Row) -> int:
    """Tokens an answer may have: room for twice the length of what is said again."""
    if view.card.pairs:
        return PAIR_TOKENS * view.number
    source = row.question if view.words_question else row.answer
    source = f"{row.question} {row.answer}" if view.part == "both" else source
    rate = TOKENS_PER_UNSPACED if has_unspaced(source) else TOKENS_PER_CHARACTER
    return SPARE_TOKENS + round(rate * len(source))


LABEL = re.compile(r"^\W*(?:question|q|answer|a)\s*\d*\W*[:.]\W*", re.IGNORECASE)
PAIR = re.compile(
    r"^\W*(?:\d+\W+)?(?:question|q)\s*\d*\W*:(?P<question>.+?)^\W*(?:answer|a)\s*\d*\W*:(?P<answer>.+?)"
    r"(?=\n\s*\n|^\W*(?:\d+\W+)?(?:question|q)\s*\d*\W*:|\Z)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
QUOTES = '"\u201c\u201d\u00ab\u00bb\u300c\u300d'


def texts_in(view: WrittenView, said: str) -> list[Text]:
    """The texts of an answer; [] where it has none in the form that was asked for."""
    if view.card.pairs or view.part == "both":
        pairs = [Text(_clean(pair["question"]), _clean(pair["answer"])) for pair in PAIR.finditer(said)]
        return [pair for pair in pairs if pair.question and pair.answer]
    text = _clean(LABEL.sub("", said.strip(), count=1))
    if not text:
        return []
    return [Text(text, None) if view.words_question else Text(None, text)]


def _clean(text: str) -> str:
    """A text without marks around it and with single blanks."""
    bare = " ".join(text.replace("**", "").split())
    quoted = len(bare) > 1 and bare[0] in QUOTES and bare[-1] in QUOTES
    return bare[1:-1].strip() if quoted else bare
