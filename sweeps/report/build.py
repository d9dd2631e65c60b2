"""`unlearn-sweep report`: rebuild everything under <sweep>/report/ from the records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.engine.answers import Answers, read_answers
from unlearn_sweep.engine.store.durable import write_text
from unlearn_sweep.sweeps.report.answer_sheet import answer_sheet
from unlearn_sweep.sweeps.report.document import Report, make_report
from unlearn_sweep.sweeps.report.page import render_page
from unlearn_sweep.sweeps.report.provenance import Prices
from unlearn_sweep.sweeps.report.records import no_garbage_collection, read_sweep
from unlearn_sweep.sweeps.report.repetition import with_repetition
from unlearn_sweep.sweeps.report.table import answers_csv, trials_csv


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPaths:
    """The files that `build_report` wrote."""

    page: Path
    data: Path
    table: Path
    answers: Path
    pictures: list[Path]


def load_report(directory: Path | str, prices: Prices | None = None) -> Report:
    """Return the report of a sweep as data; write nothing. `prices` turn device hours into a cost.

    Raises:
        SweepNotFoundError: The folder does not exist or is not a sweep.
    """
    return load_answered(directory, prices)[0]


def load_answered(directory: Path | str, prices: Prices | None = None) -> tuple[Report, Answers]:
    """Return the report of a sweep as data, and the answers of original, gold and the recommended trials.

    Raises:
        SweepNotFoundError: The folder does not exist or is not a sweep.
    """
    with no_garbage_collection():
        data = read_sweep(directory)
        report = make_report(data, prices)
        answers = read_answers(data.snapshot, [pick.number for pick in report.picks])
        return with_repetition(report, answers.table), answers


def report_json(report: Report) -> str:
    """Return the JSON text that `report DIR --json` prints and report.json contains."""
    return report.model_dump_json(indent=1)


def build_report(directory: Path | str, prices: Prices | None = None) -> ReportPaths:
    """Write the page, pictures, table and JSON into <directory>/report. Replace older ones.

    Raises:
        SweepNotFoundError: The folder does not exist or is not a sweep.
    """
    from unlearn_sweep.sweeps.report.pictures import draw_pictures  # importing matplotlib is slow

    folder = Path(directory) / "report"
    report, answers = load_answered(directory, prices)
    with no_garbage_collection():
        folder.mkdir(exist_ok=True)
        paths = ReportPaths(
            page=folder / "index.html",
            data=folder / "report.json",
            table=folder / "trials.csv",
            answers=folder / "answers.csv",
            pictures=draw_pictures(report, folder),
        )
        write_text(paths.page, render_page(report, answer_sheet(answers)))
        write_text(paths.answers, answers_csv(answers))
        write_text(paths.data, report_json(report) + "\n")
        write_text(paths.table, trials_csv(report))
    return paths
