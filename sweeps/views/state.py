"""What is there of a sweep's written views: which files are written, what they lack, and what writing would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.view_settings import QUESTIONS, WrittenView
from unlearn_sweep.evaluators.benchmarks.written_rows import ReadView, Written, read_written, with_written
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.written_views.writing import Work, work_of

REASONS_SHOWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewState:
    """One view of a sweep.

    Attributes:
        rows: the rows it is for; empty where that is not known yet, because the questions it builds on are not written.
        written: its texts; None where there is no file, or one that cannot be used.
        problem: why the file or the rows cannot be used; None if they can or if there is no file.
    """

    view: WrittenView
    rows: Sequence[Row]
    written: Written | None
    problem: str | None

    @property
    def complete(self) -> bool:
        """Whether nothing is left to write: every row has all texts, or some of those that one call gives."""
        if self.written is None:
            return False
        if self.view.kind == "relearn_set":
            return not self.written.refused
        return not self.written.short(self.rows, 1 if self.view.card.pairs else self.view.wordings)

    def lacks(self, needed: int) -> str | None:
        """Return what stops a reader that needs so many texts of each row; None if nothing does."""
        if self.written is None or not self.rows or self.view.card.pairs:
            return None if self.written is None or self.written.texts else self._none()
        short = self.written.short(self.rows, needed)
        if not short or (self.view.missing == "leave_out" and len(short) < len(self.rows)):
            return None
        few = "no text" if needed == 1 else f"fewer than {needed} texts"
        return (
            f"{len(short)} of {len(self.rows)} rows of view {self.view.label} have {few}, the first is {short[0]!r}"
            f"{self._reasons()}: raise attempts, ask another writer, complete {self.view.path} by hand, or write "
            "missing: leave_out"
        )

    def left_out(self, needed: int) -> int:
        """Return how many rows a reader leaves out for want of texts."""
        if self.written is None or self.view.card.pairs or self.view.missing != "leave_out":
            return 0
        return len(self.written.short(self.rows, needed))

    def _none(self) -> str:
        return f"view {self.view.label} has no text at all{self._reasons()}"

    def _reasons(self) -> str:
        refused = Counter(self.written.refused if self.written is not None else {}).most_common(REASONS_SHOWN)
        return "" if not refused else f" (refused: {', '.join(f'{reason}: {count}' for reason, count in refused)})"


def view_states(views: Sequence[WrittenView], benchmark: Benchmark) -> list[ViewState]:
    """Return the state of each view, in order. Views of written questions see those that are there."""
    return [view_state(view, with_question_views(view, views, benchmark)) for view in views]


def with_question_views(view: WrittenView, views: Sequence[WrittenView], benchmark: Benchmark) -> Benchmark | None:
    """Return the benchmark with the written questions that a view builds on; None where they cannot be read yet."""
    if not view.of.endswith(QUESTIONS):
        return benchmark
    base = next((v for v in views if v.kind == "questions_from_text" and f"{v.of}{QUESTIONS}" == view.of), None)
    if base is None or not Path(base.path).is_file():
        return None
    try:
        return with_written(benchmark, [ReadView(kind=base.kind, of=base.of, path=base.path, digest=None)])
    except ValueError:  # the state of that view says why
        return None


def view_state(view: WrittenView, benchmark: Benchmark | None) -> ViewState:
    if benchmark is None:
        return ViewState(view=view, rows=(), written=None, problem=None)
    try:
        rows = work_of(view, benchmark).rows
        written = read_written(Path(view.path), view.kind, view.of, rows) if Path(view.path).exists() else None
    except ValueError as error:
        return ViewState(view=view, rows=(), written=None, problem=str(error))
    return ViewState(view=view, rows=rows, written=written, problem=None)


def left_to_write(view: WrittenView, sources: Benchmark) -> Work | None:
    """Return what is left to write of a view: all of it where there is no complete file; None if nothing is.

    `sources` holds the questions that the view builds on. A file that cannot be used is left alone.
    """
    state = view_state(view, sources)
    return None if state.problem is not None or state.complete else work_of(view, sources)


def open_work(views: Sequence[WrittenView], benchmark: Benchmark) -> list[Work]:
    """Return what is left to write of all views. Views of questions that are not written yet are not counted."""
    sources = ((view, with_question_views(view, views, benchmark)) for view in views)
    found = (left_to_write(view, source) for view, source in sources if source is not None)
    return [work for work in found if work is not None]
