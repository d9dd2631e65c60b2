"""Command write-views: have texts written for the rows of a sweep's benchmark."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unlearn_sweep.sweeps.arguments import AsJson, File, Storage, path_argument
from unlearn_sweep.sweeps.printing import print_json, print_line
from unlearn_sweep.user_error import EXIT_FAILED, UserError

if TYPE_CHECKING:
    from unlearn_sweep.sweeps.views.writing import ViewReport


def write_views(
    file: File,
    storage: Storage = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.csv", parser=path_argument, help="List the rows to write for, in a new file; write no view."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have the views of a sweep file written: paraphrases, wrong answers, questions from text, ..."""
    from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
    from unlearn_sweep.sweeps.file.spec import load_spec
    from unlearn_sweep.sweeps.resolve import Overrides, resolve
    from unlearn_sweep.sweeps.views import writing

    job = resolve(load_spec(file, cluster=True), Overrides(storage=storage))
    if not job.views:
        raise UserError(f"{file} has no section views", advice="Add one: see docs/views.md")
    try:
        benchmark = load_benchmark(job.benchmark.name, job.benchmark.params)
    except (OSError, ValueError) as error:
        raise UserError(f"benchmark {job.benchmark.name} cannot be loaded: {error}") from error
    if rows is not None:
        _list_rows(rows, writing.row_list(job, benchmark))
        return
    reports = writing.write_views(job, benchmark, tell=lambda line: None if as_json else print_line(line))
    if as_json:
        print_json([report.as_json() for report in reports])
    else:
        for report in reports:
            for line in _lines(report):
                print_line(line)
    if any(report.short and report.view.missing == "refuse" and not report.own for report in reports):
        raise typer.Exit(EXIT_FAILED)


def _list_rows(file: Path, rows: list[dict[str, str]]) -> None:
    if file.exists():
        raise UserError(f"{file} is there already", advice="Name another file")
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=["kind", "of", "row_id", "source_question", "source_answer"])
    writer.writeheader()
    writer.writerows(rows)
    file.write_text(stream.getvalue(), encoding="utf-8")
    print_line(f"{file}: {len(rows)} rows")


def _lines(report: ViewReport) -> list[str]:
    view, cost = report.view, report.cost
    lines = [f"view {view.label}: {report.texts} texts for {report.rows} rows -> {view.path}"]
    if cost is None:
        lines.append("  nothing to write: no call was made")
    else:
        dollars = "" if cost.dollars is None else f", ${cost.dollars:,.4f}"
        tokens = f"{cost.prompt_tokens:,} tokens read, {cost.completion_tokens:,} written"
        lines.append(f"  {cost.calls:,} calls ({cost.cached:,} answers were kept from before), {tokens}{dollars}")
    if report.refused:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(report.refused.items()))
        lines.append(f"  refused: {reasons}")
    if report.short:
        lines.append(f"  {report.short} rows have fewer texts than asked for ({_then(report)})")
    return lines


def _then(report: ViewReport) -> str:
    if report.view.missing == "leave_out":
        return "missing: leave_out trains without those that a method needs"
    return "raise attempts, name another writer, complete the file by hand, or write missing: leave_out"
