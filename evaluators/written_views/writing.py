"""Writing one view: each row's texts from each writer, checked, until there are enough or no attempt is left.

The texts of a row are written one after another, since each has to differ from those before; rows go in parallel. What
was answered before is read, not asked again, so a command that was killed goes on where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.view_settings import WrittenView
from unlearn_sweep.evaluators.benchmarks.written_rows import WrittenRecord, source_rows
from unlearn_sweep.evaluators.chat_models.endpoint import CallError
from unlearn_sweep.evaluators.chat_models.settings import ChatModelSettings
from unlearn_sweep.evaluators.judge.judge import Cost, Judge
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.words import word_list
from unlearn_sweep.evaluators.written_views.judge_check import question_of
from unlearn_sweep.evaluators.written_views.prompts import Text, answer_tokens, messages, texts_in
from unlearn_sweep.evaluators.written_views.rules import Context, fault_of
from unlearn_sweep.evaluators.written_views.writers import Writer

LONGEST_TOPIC = 300
"""Characters of forget questions that stand for a topic nobody named."""

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A view to be written: the rows it is for, and the forget rows a relearning set must not give away."""

    view: WrittenView
    rows: Sequence[Row]
    forget: Sequence[Row] = ()

    def context(self, kept: Sequence[Text]) -> Context:
        questions = frozenset(" ".join(word_list(row.question)) for row in self.forget)
        return Context(
            kept=kept, taken_questions=questions, taken_answers=tuple(dict.fromkeys(row.answer for row in self.forget))
        )


def work_of(view: WrittenView, benchmark: Benchmark) -> Work:
    """What is to be written for a benchmark.

    Raises:
        ValueError: the benchmark has no row of the kind that the view is written for.
    """
    if view.kind == "relearn_set":
        forget = [row for row in benchmark.train["forget"] if row.question.strip()]
        forget += [row for row in benchmark.evaluation["forget"] if row.kind == "question"]
        return Work(view=view, rows=topics(view, benchmark), forget=forget)
    rows = source_rows(benchmark, view.kind, view.of)
    if not rows:
        wanted = "running text" if view.kind in ("summary", "questions_from_text") else "questions"
        raise ValueError(f"view {view.label}: {benchmark.name} has no {wanted} there to write for")
    return Work(view=view, rows=rows)


def topics(view: WrittenView, benchmark: Benchmark) -> list[Row]:
    """The topics of a relearning set as rows: those given, or the questions of each group of forget rows."""
    if not view.topics:
        groups: dict[str, list[str]] = {}
        for row in benchmark.train["forget"]:
            groups.setdefault(row.group_id, []).append(row.question or row.answer)
        named = [" ".join(found)[:LONGEST_TOPIC] for found in groups.values()]
    else:
        named = list(view.topics)
    return [
        Row(row_id=f"topic/{i}", group_id=f"topic/{i}", split="", question=t, answer="") for i, t in enumerate(named)
    ]


class Checker:
    """The judge of written texts; safe to use from several threads. A text without a verdict is refused."""

    def __init__(self, settings: ChatModelSettings) -> None:
        self._judge = Judge(replace(settings, failure_cap=1.0))
        self._places = threading.Semaphore(settings.concurrency)
        self._lock = threading.Lock()
        self.cost = Cost(dollars=0.0 if settings.prices else None)

    def fault(self, view: WrittenView, row: Row, text: Text) -> str | None:
        """Why the judge refuses a text; None if it does not.

        Raises:
            EndpointUnusableError: the judge's endpoint refuses every call.
        """
        with self._places:
            verdicts, cost = self._judge.verdicts([question_of(view, row, text)])
        with self._lock:
            self.cost = self.cost.plus(cost)
        value, reason = verdicts[0].value, verdicts[0].reason
        return f"judge: {reason}" if value is None else None if value == 1.0 else "judge: no"


@dataclass(slots=True)
class Unit:
    """The texts of one row, as they come: those kept, and the reasons of those that are missing."""

    work: Work
    row: Row
    kept: list[tuple[str, Text]] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    @property
    def texts(self) -> list[Text]:
        return [text for _, text in self.kept]

    def fault(self, text: Text, checker: Checker | None) -> str | None:
        """Why a text is refused, by the rule and then by the judge; None if it is kept."""
        view = self.work.view
        found = fault_of(view, self.row, text, self.work.context(self.texts))
        return found if found is not None or checker is None else checker.fault(view, self.row, text)

    def records(self) -> list[WrittenRecord]:
        """The lines of the file: texts first, then what is missing."""
        set_of_its_own = self.work.view.kind == "relearn_set"
        about = WrittenRecord(
            row_id="" if set_of_its_own else self.row.row_id,
            source_question=self.row.question or None,
            source_answer=self.row.answer or None,
        )
        texts = [{"question": text.question, "answer": text.answer, "writer": name} for name, text in self.kept]
        lines = [*texts, *({"reason": reason, "writer": name} for name, reason in self.missing)]
        return [about.model_copy(update={"number": place, **line}) for place, line in enumerate(lines, start=1)]


def write_view(
    work: Work, writers: Mapping[str, Writer], checker: Checker | None, *, progress: Progress = lambda done, of: None
) -> list[WrittenRecord]:
    """The lines of a view's file, in the order of its rows; what could not be had is there with its reason.

    Raises:
        EndpointUnusableError, WriterFailedError: a writer refuses every call, or never answers.
    """
    stop = threading.Event()
    threads = max(writers[name].settings.concurrency for name in work.view.writers)
    with ThreadPoolExecutor(threads) as pool:
        futures = {pool.submit(_unit, work, row, writers, checker, stop): place for place, row in enumerate(work.rows)}
        found: dict[int, list[WrittenRecord]] = {}
        try:
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                progress(len(found), len(futures))
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True, wait=False)
            raise
    return [record for place in sorted(found) for record in found[place]]


def _unit(
    work: Work, row: Row, writers: Mapping[str, Writer], checker: Checker | None, stop: threading.Event
) -> list[WrittenRecord]:
    unit = Unit(work, row)
    for name in work.view.writers:
        before = len(unit.kept)
        reason = None
        for variation in _variations(work.view, lambda before=before: len(unit.kept) - before):
            if stop.is_set():
                break
            reason = _answer(unit, name, writers[name], variation, checker, before) or reason
        lost = work.view.number - (len(unit.kept) - before)
        if lost and not (work.view.card.pairs and len(unit.kept) > before):
            unit.missing += [(name, reason or "no text")] * lost
    return unit.records()


def _variations(view: WrittenView, written: Callable[[], int]) -> Iterator[int]:
    """Numbers of the answers to ask for, until there are enough texts or no attempt is left.

    Each text has its own attempts, with the styles that no other text of the row begins with; a call for pairs has as
    many as one text.
    """
    if view.card.pairs:
        for attempt in range(view.attempts):
            if written() < view.number:
                yield attempt
        return
    for text in range(view.number):
        had = written()
        for attempt in range(view.attempts):
            if written() == had:
                yield text + attempt * view.number


def _answer(unit: Unit, name: str, writer: Writer, variation: int, checker: Checker | None, before: int) -> str | None:
    """Ask once and keep what passes; the reason why something did not, None if all did."""
    view = unit.work.view
    asked = messages(view, unit.row, variation, unit.work.forget)
    try:
        said = writer.ask(asked, answer_tokens(view, unit.row), variation)
    except CallError as error:
        return f"call failed: {error}"
    texts = texts_in(view, said.text)
    if said.cut:
        if not view.card.pairs or len(texts) < 2:
            return "cut off at the limit of tokens"
        texts = texts[:-1]
    reason = None if texts else "not in the form asked for"
    for text in texts[: view.number - (len(unit.kept) - before)]:
        fault = unit.fault(text, checker)
        if fault is None:
            unit.kept.append((name, text))
        reason = fault or reason
    return reason
