"""Write the views of a sweep file: what is missing of each, by the writers that the environment names."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.durable import write_bytes
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.view_settings import WrittenView
from unlearn_sweep.evaluators.benchmarks.written_rows import WrittenRecord
from unlearn_sweep.evaluators.chat_models.settings import ChatModelSettings
from unlearn_sweep.evaluators.judge.judge import Cost
from unlearn_sweep.evaluators.judge.settings import judge_settings
from unlearn_sweep.evaluators.written_views.estimate import estimate
from unlearn_sweep.evaluators.written_views.writers import KeptAnswers, Writer, writer_settings
from unlearn_sweep.evaluators.written_views.writing import Checker, Work, write_view
from unlearn_sweep.sweeps.views.state import left_to_write, open_work, view_state, with_question_views
from unlearn_sweep.user_error import UserError

ANSWERS, VERDICTS = "answers", "verdicts"
"""Folders below `views` of the storage: what writers and judges answered, by content."""
REPORT_EVERY_S = 10.0
COLUMNS = ("row_id", "number", "question", "answer", "reason", "source_question", "source_answer", "writer")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewReport:
    """What became of one view. `cost` is None where nothing was written; `own`: the file is the user's."""

    view: WrittenView
    rows: int
    texts: int
    refused: dict[str, int]
    short: int
    cost: Cost | None
    own: bool

    def as_json(self) -> dict[str, object]:
        cost = self.cost
        spent = None if cost is None else {name: getattr(cost, name) for name in COUNTED}
        return {
            "view": self.view.label,
            "path": self.view.path,
            "rows": self.rows,
            "texts": self.texts,
            "refused": self.refused,
            "rows_without_enough": self.short,
            "cost": spent,
        }


COUNTED = ("calls", "cached", "prompt_tokens", "completion_tokens", "dollars")


def write_views(job: SweepJob, benchmark: Benchmark, *, tell: Tell = lambda line: None) -> list[ViewReport]:
    """Write every view of a sweep that lacks texts, questions from text first; return what became of each.

    Raises:
        UserError: a writer or judge is not named or gives no answers, or a file of one's own lacks texts.
    """
    in_order = sorted(job.views, key=lambda view: view.kind != "questions_from_text")
    reports = {view.label: _write(view, job, benchmark, tell) for view in in_order}
    return [reports[view.label] for view in job.views]


def _write(view: WrittenView, job: SweepJob, benchmark: Benchmark, tell: Tell) -> ViewReport:
    sources = with_question_views(view, job.views, benchmark)
    if sources is None:
        raise UserError(f"view {view.label}: the questions that it is about could not be written")
    state = view_state(view, sources)
    if state.problem is not None:
        raise UserError(f"view {view.label}: {state.problem}", advice="Move the file away to have it written anew")
    cost = None
    work = left_to_write(view, sources)
    if work is not None and not _own(view, job):
        cost = _filled(work, job, tell)
        state = view_state(view, sources)
    written = state.written
    if written is None:
        raise UserError(f"view {view.label}: there is no file {view.path}, and only parquet files are written")
    needed = 1 if view.card.pairs else view.wordings
    return ViewReport(
        view=view,
        rows=len(state.rows),
        texts=sum(len(found) for found in written.texts.values()),
        refused=dict(written.refused),
        short=0 if view.kind == "relearn_set" else len(written.short(state.rows, needed)),
        cost=cost,
        own=_own(view, job),
    )


def _own(view: WrittenView, job: SweepJob) -> bool:
    """Whether a file is the user's own, which is never written over."""
    path = Path(view.path)
    return path.suffix != ".parquet" or (path.exists() and path.parent != job.storage / "views")


def _filled(work: Work, job: SweepJob, tell: Tell) -> Cost:
    """Write a view's file. What was answered before is not asked again."""
    writers = named_writers(work.view, job)
    checker = None
    if work.view.check == "judge":
        settings = _named(judge_settings)
        checker = Checker(replace(settings, cache=settings.cache or job.storage / "views" / VERDICTS))
    tell(f"view {work.view.label}: {estimate(work, writers)}")
    records = write_view(work, writers, checker, progress=_progress(work.view, writers, tell))
    write_bytes(Path(work.view.path), parquet(records))
    total = Cost()
    for cost in (*(writer.cost for writer in writers.values()), *([] if checker is None else [checker.cost])):
        total = total.plus(cost)
    return total


def named_writers(view: WrittenView, job: SweepJob) -> dict[str, Writer]:
    """Return the writers of a view.

    Raises:
        UserError: the environment does not name one.
    """
    kept = KeptAnswers(job.storage / "views" / ANSWERS)
    _without_progress_bars()
    return {name: Writer(_named(lambda name=name: writer_settings(name)), kept) for name in view.writers}


def _without_progress_bars() -> None:
    """Keep transformers from drawing bars into the lines of the command, where a writer's weights are loaded."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _named(settings: Callable[[], ChatModelSettings]) -> ChatModelSettings:
    """Return the settings of a writer or judge; a variable that is missing or wrong is the user's mistake."""
    try:
        return settings()
    except ValueError as error:
        raise UserError(str(error)) from error


def _progress(view: WrittenView, writers: dict[str, Writer], tell: Tell) -> Callable[[int, int], None]:
    told = time.monotonic()

    def progress(done: int, of: int) -> None:
        nonlocal told
        if time.monotonic() - told >= REPORT_EVERY_S:
            told = time.monotonic()
            calls = sum(writer.cost.calls for writer in writers.values())
            tell(f"view {view.label}: {done} of {of} rows, {calls} calls")

    return progress


def parquet(records: Sequence[WrittenRecord]) -> bytes:
    """Return the lines of a view as a parquet file."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(name, pyarrow.int32() if name == "number" else pyarrow.string()) for name in COLUMNS])
    table = pyarrow.Table.from_pylist([record.model_dump() for record in records], schema=schema)
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


def row_list(job: SweepJob, benchmark: Benchmark) -> list[dict[str, str]]:
    """Return the rows that the views are written for, to complete a file by hand: kind, of, row_id and the row."""
    found = []
    for view in job.views:
        sources = with_question_views(view, job.views, benchmark)
        for row in view_state(view, sources).rows:
            texts = {"source_question": row.question, "source_answer": row.answer}
            found.append({"kind": view.kind, "of": view.of, "row_id": row.row_id, **texts})
    return found


def writing_notes(job: SweepJob, benchmark: Benchmark) -> list[str]:
    """Return what `write-views` would do, in one line for each view that lacks texts."""
    notes = [
        f"view {view.label} is counted once the questions that it is about are written"
        for view in job.views
        if with_question_views(view, job.views, benchmark) is None
    ]
    for work in open_work(job.views, benchmark):
        writers: dict[str, Writer] = {}
        for name in work.view.writers:
            with suppress(ValueError):  # a writer that is not named has no price, and keeps no answers
                writers[name] = Writer(writer_settings(name), KeptAnswers(job.storage / "views" / ANSWERS))
        unnamed = [name for name in work.view.writers if name not in writers]
        who = f"; writer {', '.join(unnamed)} is not named in the environment" if unnamed else ""
        judged = ", and a judge's call for each text that passes the rule" if work.view.check == "judge" else ""
        notes.append(f"write-views would write view {work.view.label}: {estimate(work, writers)}{judged}{who}")
    return notes


def refusals(reports: Sequence[ViewReport]) -> Counter[str]:
    """Return how many texts were refused, by reason, in all views together."""
    return sum((Counter(report.refused) for report in reports), Counter())
