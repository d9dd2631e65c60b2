"""Running text as rows: long texts cut into passages, passages as something to train on or to continue.

A model reads a limited number of tokens, and what lies beyond would be dropped without a word; so texts are cut into
passages of at most so many characters, at the end of a paragraph, sentence or word, and every passage is a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from unlearn_sweep.evaluators.rows import DOCUMENT, PASSAGE, Row
from unlearn_sweep.evaluators.words import SENTENCE_ENDS, word_spans

BREAKS = ("\n\n", "\n", rf"(?<=[{SENTENCE_ENDS}])\s|(?<=[\u3002\uff01\uff1f])", r"\s")
"""Where a passage may end, best first."""
LEAST_DOCUMENTS = 8
"""With fewer, passages are groups of their own."""
LEAST_SHARE = 0.5
"""A better break is taken only where the passage keeps this share of its length."""


def passages(text: str, characters: int) -> list[str]:
    """The text in passages of at most `characters`, none of them blank; nothing but white space is lost.

    A word longer than that is cut.
    """
    rest, found = text.strip(), []
    while len(rest) > characters:
        cut = _cut(rest[: characters + 1], characters)
        found.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*found, rest] if rest else found


def document_rows(
    split: str, texts: Sequence[str], characters: int, *, name: str | None = None, at_most: int | None = None
) -> list[Row]:
    """Every text, passage by passage (the first `at_most` of each), under ids that begin with `name` (None: the split).

    Passages of one document tell of each other, so a document is a group. Where there are fewer than `LEAST_DOCUMENTS`,
    too few to be halved twice, each passage is one.
    """
    rows = []
    for index, text in enumerate(texts):
        document = f"{name or split}/{index:05d}"
        for part, passage in enumerate(passages(text, characters)[:at_most]):
            row = replace(document_row(f"{document}/{part:04d}", split, passage), divisible=True)
            rows.append(replace(row, group_id=document) if len(texts) >= LEAST_DOCUMENTS else row)
    return rows


def document_row(row_id: str, split: str, passage: str) -> Row:
    """A passage to train on or to score: nothing is asked, every token is supervised."""
    return Row(row_id=row_id, group_id=row_id, split=split, question="", answer=passage, kind="text", template=DOCUMENT)


def continuation_row(row_id: str, split: str, passage: str, *, share: float = 0.5) -> Row | None:
    """A passage to go on with after the first `share` of its words; None where it has fewer than two words.

    In scripts without spaces the words are characters. Prompt and answer are joined by what stands between them in the
    text: nothing, a space or a line break.
    """
    words = word_spans(passage)
    if len(words) < 2:
        return None
    first, _ = words[min(len(words) - 1, max(1, round(share * len(words))))]
    question = passage[:first].rstrip()
    return Row(
        row_id=row_id,
        group_id=row_id,
        split=split,
        question=question,
        answer=passage[first:],
        kind="continuation",
        template=replace(PASSAGE, answer_lead=passage[len(question) : first]),
    )


def _cut(head: str, characters: int) -> int:
    for pattern in BREAKS:
        ends = [found.start() for found in re.finditer(pattern, head)]
        if ends and ends[-1] >= LEAST_SHARE * characters:
            return ends[-1]
    return characters
