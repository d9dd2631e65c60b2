"""Views that a model or a person wrote, as a file: reading and checking them, and the benchmark with them in it.

A file holds one line for each text, in parquet, CSV, JSON or JSON lines:

    row_id           the row it is written for; a relearning set has none
    number           which of the row's texts it is, from 1; left out: in the order of the file
    question, answer what is written; the kind says which of them
    reason           why a text was refused; such a line has no text and counts as missing
    source_question, source_answer
                     the row as it was when this was written; compared with the row, where given
    writer           who wrote it; for people to read

`with_written` puts the views that one training or attack reads into the benchmark: questions take the place of the
running text they were written for, wrong answers that of a row's own, other wordings and relearning sets become views.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from unlearn_sweep.evaluators.answer_match import answer_contained
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.tables import (
    MISTAKES_SHOWN,
    check_rows,
    near_columns,
    raise_mistakes,
    read_table,
)
from unlearn_sweep.evaluators.benchmarks.view_settings import JUDGED, KINDS, QUESTIONS, Kind
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.words import folded_text

VIEWS_KEY = "written_views"
"""Reserved option of a benchmark: the views that one training or attack reads."""
WORDINGS = "forget_wordings"
"""Training view of the other wordings of the forget rows; `row_of` names the row of each."""
VAGUE = "forget_vague_answers"
"""Training view of the forget questions with written answers that give nothing away; `row_of` names the row of each."""
RELEARN_SET = "relearn_set"
WRITTEN_ID = re.compile(r"#\d+$")
"""Ends the id of a question that was written for a passage."""
LIST_IDS = "List the ids with: unlearn-sweep write-views FILE --rows OUT.csv"
AGAIN = "Write the file with: unlearn-sweep write-views FILE"

Filled = Annotated[str, Field(min_length=1)]


def _number(value: Any) -> Any:
    """A whole number, the digits of a CSV cell, or what a column with gaps makes of a whole number: 2.0."""
    if isinstance(value, str) and value.strip().isdigit():
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


class WrittenRecord(BaseModel):
    """One line of a view's file. Other columns are left alone."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True, strict=True)

    row_id: str = ""
    number: Annotated[int | None, BeforeValidator(_number)] = Field(default=None, ge=1)
    question: Filled | None = None
    answer: Filled | None = None
    reason: Filled | None = None
    source_question: str | None = None
    source_answer: str | None = None
    writer: str | None = None


class ReadView(BaseModel):
    """A view as one training or attack reads it: at least `needed` texts of each row."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    kind: Kind
    of: str
    path: str
    digest: str | None
    needed: int = 1
    missing: Literal["refuse", "leave_out"] = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The texts of a view by row, in order, and how many lines were refused, by reason. A set has one row: ""."""

    texts: Mapping[str, tuple[WrittenRecord, ...]]
    refused: Mapping[str, int]

    def short(self, rows: Sequence[Row], needed: int) -> list[str]:
        """Ids of the rows with fewer texts than needed."""
        return [row.row_id for row in rows if len(self.texts.get(row.row_id, ())) < needed]


def source_rows(benchmark: Benchmark, kind: Kind, of: str) -> list[Row]:
    """The rows that a view of this kind is written for, in order; [] where the benchmark has none of them.

    Running text for summaries and questions from text, questions for all other kinds. Written questions are those
    that `with_written` put into the benchmark.
    """
    if of == JUDGED:
        return [row for row in benchmark.evaluation["forget"] if row.kind == "question" and row.question.strip()]
    rows = benchmark.train.get(of.removesuffix(QUESTIONS), ())
    if kind in ("summary", "questions_from_text"):
        return [row for row in rows if not row.question.strip()]
    asked = [row for row in rows if row.question.strip()]
    return [row for row in asked if WRITTEN_ID.search(row.row_id)] if of.endswith(QUESTIONS) else asked


def read_written(path: Path, kind: Kind, of: str, rows: Sequence[Row]) -> Written:
    """The texts of a file for these rows.

    Raises:
        ValueError: no such file, or lines that do not belong to the rows or lack a text; names file, row and column.
    """
    numbered = list(read_table(path))
    columns = dict.fromkeys(str(name) for _, line in numbered if isinstance(line, Mapping) for name in line)
    raise_mistakes(
        [
            f"{path}, column {given}: no such column; did you mean {meant}?"
            for given, meant in near_columns(columns, WrittenRecord).items()
        ]
    )
    records = check_rows(str(path), numbered, WrittenRecord)
    _check_against(path, [number for number, _ in numbered], records, kind, of, {row.row_id: row for row in rows})
    texts: dict[str, list[WrittenRecord]] = {}
    for record in records:
        if record.reason is None:
            texts.setdefault(record.row_id if kind != RELEARN_SET else "", []).append(record)
    ordered = {name: tuple(sorted(found, key=lambda one: one.number or 0)) for name, found in texts.items()}
    return Written(texts=ordered, refused=Counter(record.reason for record in records if record.reason is not None))


def _check_against(
    path: Path, numbers: Sequence[int], records: Sequence[WrittenRecord], kind: Kind, of: str, rows: Mapping[str, Row]
) -> None:
    """Raise ValueError for lines that do not belong to the rows. Nearest names are looked for in the first of them."""
    mistakes: list[str] = []
    for number, record in zip(numbers, records, strict=True):
        fault = _fault(record, kind, of, rows, near=len(mistakes) < MISTAKES_SHOWN)
        if fault is not None:
            mistakes.append(f"{path}, row {number}, {fault}")
    raise_mistakes(mistakes)


def _fault(record: WrittenRecord, kind: Kind, of: str, rows: Mapping[str, Row], *, near: bool) -> str | None:
    """What is wrong with a line, from its column on; None if nothing is. `near`: look for the nearest name."""
    row = rows.get(record.row_id)
    if kind != RELEARN_SET and row is None:
        nearest = difflib.get_close_matches(record.row_id, rows, n=1) if near else []
        hint = f"; nearest: {nearest[0]!r}" if nearest else ""
        return f"column row_id: no {of} row {record.row_id!r}{hint}. {LIST_IDS}"
    if record.reason is not None:
        return None
    for column in _required(kind):
        if getattr(record, column) is None:
            return f"column {column}: a text of kind {kind} needs one"
    if kind == "paraphrase" and record.question is None and record.answer is None:
        return "column answer: a paraphrase needs a question, an answer or both"
    return None if row is None else _against(record, kind, row)


def _required(kind: Kind) -> tuple[str, ...]:
    return () if kind == "paraphrase" else KINDS[kind].gives


def _against(record: WrittenRecord, kind: Kind, row: Row) -> str | None:
    """What a line has against its row: another source text, or a text that cannot be what its kind says."""
    for column, now in (("source_question", row.question), ("source_answer", row.answer)):
        then = getattr(record, column)
        if then is not None and folded_text(then) != folded_text(now):
            return f"column {column}: written for {then[:40]!r}, and the row has {now[:40]!r}. {AGAIN}"
    if kind in ("alternate_answer", "vague_answer") and answer_contained(row.answer, record.answer or "") == 1.0:
        return f"column answer: holds the right answer {row.answer[:40]!r}"
    same_question = record.question is None or folded_text(record.question) == folded_text(row.question)
    same_answer = record.answer is None or folded_text(record.answer) == folded_text(row.answer)
    return "column answer: the row's own text" if same_question and same_answer else None


def content_digest(path: Path) -> str | None:
    """Digest (16 hex digits) of a file's texts, whatever its format; None where it cannot be read."""
    try:
        records = check_rows(str(path), read_table(path), WrittenRecord)
    except ValueError:
        return None
    texts = [[one.row_id, one.number, one.question, one.answer] for one in records if one.reason is None]
    texts.sort(key=lambda text: (text[0], text[1] or 0))
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode()).hexdigest()[:16]


# --- the benchmark with views ----------------------------------------------------------------------------------------


def with_written(benchmark: Benchmark, reads: Sequence[ReadView]) -> Benchmark:
    """The benchmark as a training or attack that reads these views sees it.

    Raises:
        ValueError: a view's file is missing, changed since the sweep was planned, does not fit the rows, or has too few
            texts for a row and the view does not leave such rows out.
    """
    for read in sorted(reads, key=lambda read: read.kind != "questions_from_text"):
        found = content_digest(Path(read.path))
        if read.digest is not None and found is not None and found != read.digest:
            raise ValueError(f"{read.path}: changed since the sweep began; start another sweep with the new texts")
        written = read_written(Path(read.path), read.kind, read.of, source_rows(benchmark, read.kind, read.of))
        benchmark = replace(benchmark, train={**benchmark.train, **_changed(benchmark, read, written)})
    return benchmark


def _changed(benchmark: Benchmark, read: ReadView, written: Written) -> dict[str, Sequence[Row]]:
    """The training views that a view changes or adds."""
    match read.kind:
        case "questions_from_text":
            return {read.of: with_questions(benchmark.train[read.of], written)}
        case "alternate_answer":
            rows = complete_rows(benchmark, read, written)
            return {"forget": [_with_alternates(row, written) for row in rows]}
        case "vague_answer":
            rows = complete_rows(benchmark, read, written)
            return {"forget": rows, VAGUE: [one for row in rows for one in worded_rows(row, written)]}
        case "relearn_set":
            return {RELEARN_SET: relearn_rows(written)}
        case _ if read.of == JUDGED:
            rows = source_rows(benchmark, read.kind, read.of)
            return {judged_view(read.kind): [one for row in rows for one in worded_rows(row, written)]}
        case _:
            rows = complete_rows(benchmark, read, written)
            others = [one for row in rows for one in worded_rows(row, written)]
            return {"forget": rows, WORDINGS: [*benchmark.train.get(WORDINGS, ()), *others]}


def judged_view(kind: str) -> str:
    """The view that holds the judged questions asked in another way."""
    return f"{JUDGED}_{kind}"


def complete_rows(benchmark: Benchmark, read: ReadView, written: Written) -> list[Row]:
    """The forget rows with as many texts as are needed.

    Raises:
        ValueError: some have fewer, and they are not to be left out; or all have.
    """
    rows, written_for = list(benchmark.train["forget"]), source_rows(benchmark, read.kind, read.of)
    short = set(written.short(written_for, read.needed))
    if short and (read.missing == "refuse" or len(short) == len(rows)):
        raise ValueError(
            f"{read.path}: {len(short)} of {len(rows)} forget rows have fewer than {read.needed} texts, the first is "
            f"{min(short)!r}; write more of them, or set missing: leave_out"
        )
    return [row for row in rows if row.row_id not in short]


def with_questions(rows: Sequence[Row], written: Written) -> list[Row]:
    """Rows that ask something, and the written questions in place of the running text they were written for."""
    found = [asked for row in rows for asked in ([row] if row.question.strip() else question_rows(row, written))]
    if not found:
        raise ValueError(f"no question was written for any of {len(rows)} rows")
    return found


def question_rows(row: Row, written: Written) -> list[Row]:
    return [
        Row(
            row_id=f"{row.row_id}#{place}",
            group_id=row.group_id,
            fact_id=f"{row.row_id}#{place}",
            split=row.split,
            question=text.question or "",
            answer=text.answer or "",
        )
        for place, text in enumerate(written.texts.get(row.row_id, ()), start=1)
    ]


def worded_rows(row: Row, written: Written) -> list[Row]:
    """A row in its other wordings, each under an id of its own; `row_of` gives the row's."""
    return [
        replace(
            row,
            row_id=f"{row.row_id}~{place}",
            question=text.question or row.question,
            answer=text.answer or row.answer,
            divisible=False,
        )
        for place, text in enumerate(written.texts.get(row.row_id, ()), start=1)
    ]


def row_of(wording: Row) -> str:
    """The id of the row that a row of `worded_rows` says in other words."""
    return wording.row_id.rpartition("~")[0]


def relearn_rows(written: Written) -> list[Row]:
    return [
        Row(
            row_id=f"{RELEARN_SET}/{place:05d}",
            group_id=f"{RELEARN_SET}/{place:05d}",
            split=RELEARN_SET,
            question=text.question or "",
            answer=text.answer or "",
        )
        for place, text in enumerate(written.texts.get("", ()))
    ]


def _with_alternates(row: Row, written: Written) -> Row:
    """The row with its written wrong answers in place of its own; running text has none and stays."""
    texts = written.texts.get(row.row_id)
    return row if texts is None else replace(row, perturbed_answers=tuple(text.answer or "" for text in texts))
