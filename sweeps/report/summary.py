"""Print the summary at the end of a run: the best trade-offs and where to find the results."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearn_sweep.engine.search_settings import OBJECTIVE_NAMES
from unlearn_sweep.engine.search_space import title_of
from unlearn_sweep.engine.tracking.sink import noted_page
from unlearn_sweep.sweeps.few_facts import few_facts
from unlearn_sweep.sweeps.programs import program
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.commands import (
    answers_command,
    export_command,
    mlflow_command,
    optuna_command,
    report_command,
    serve_command,
    status_command,
)
from unlearn_sweep.sweeps.report.document import Report, ReportTrial
from unlearn_sweep.sweeps.report.html_parts import settings_text
from unlearn_sweep.sweeps.report.requests import request_text
from unlearn_sweep.sweeps.report.savings import savings_text
from unlearn_sweep.sweeps.report.seeds import spread_text
from unlearn_sweep.sweeps.report.stopping import stopping_text
from unlearn_sweep.sweeps.report.summary_text import answer
from unlearn_sweep.sweeps.report.sureness import sureness
from unlearn_sweep.sweeps.report.values import trials_text, with_error


def final_table(directory: Path | str, console: Console) -> None:
    """Print the recommended trials, failed trials if any, and the next commands.

    Raises:
        SweepNotFoundError: `directory` does not exist or is not a sweep.
    """
    report = load_report(directory)
    if report.picks:
        console.print(_picks(report))
        for line in _picked_for(report):
            console.print(line, soft_wrap=True)
        for line in _notes(report):
            console.print(line, soft_wrap=True, highlight=False)
    else:
        console.print(Text(" ".join(answer(report))))
    for trial in [trial for trial in report.trials if trial.state == "failed"][:3]:
        reason = (trial.reason or "no reason recorded").splitlines()[0][:200]
        console.print(Text(f"trial {trial.number} ({trial.method}) failed: {reason}", style="yellow"))
    for trial in [trial for trial in report.trials if trial.unmoved is not None][:3]:
        console.print(Text(f"trial {trial.number} ({trial.method}) {trial.unmoved}", style="yellow"), soft_wrap=True)
    if (saved := savings_text(report.pruning)) is not None:
        console.print(Text.assemble((f"{'Pruning':<10}", "bold"), saved), soft_wrap=True, highlight=False)
    if (stopped := stopping_text(report.stopping)) is not None:
        console.print(Text.assemble((f"{'Stopping':<10}", "bold"), stopped), soft_wrap=True, highlight=False)
    for label, text in _places(report, directory):
        console.print(Text.assemble((f"{label:<10}", "bold"), text), soft_wrap=True, highlight=False)


def _picks(report: Report) -> Table:
    by_number = {trial.number: trial for trial in report.trials if trial.state != "running"}
    objectives = [OBJECTIVE_NAMES[name] for name in report.objectives]
    table = Table("trial", "method", *objectives, title="Best trade-offs")
    for pick in report.picks:
        trial = by_number[pick.number]
        values = [_both_halves(trial, name) for name in report.objectives]
        table.add_row(title_of(trial.number, trial.params), Text(str(trial.method)), *values)
    table.caption = "on rows the search never saw ± one standard error (on those it used and chose by)"
    return table


def _picked_for(report: Report) -> list[Text]:
    """Return why each trial is recommended, and its settings. Printed below the table, so that they are not cut off."""
    by_number = {trial.number: trial for trial in report.trials if trial.state != "running"}
    return [
        Text.assemble(
            (f"trial {title_of(pick.number, by_number[pick.number].params):<3}", "bold"),
            f" {'; '.join(pick.roles)}\n          {settings_text(by_number[pick.number])}",
            "".join(f"\n          {text}" for text in sureness(by_number[pick.number], pick)),
            _over_seeds(by_number[pick.number], report.objectives),
            f"\n          {text}" if (text := request_text(report.requests, pick.number)) else "",
        )
        for pick in report.picks
    ]


def _over_seeds(trial: ReportTrial, objectives: Sequence[str]) -> str:
    """Return mean and spread of a finalist, on rows that the search never saw; empty for a trial with one seed."""
    found = trial.over_seeds
    if found is None:
        return ""
    values = ", ".join(
        f"{OBJECTIVE_NAMES[name]} {spread_text(found.spreads.get(f'report_{name}'))}" for name in objectives
    )
    return f"\n          over {found.complete} of {found.runs} seeds: {values}"


def _both_halves(trial: ReportTrial, name: str) -> str:
    return f"{with_error(trial, name, 'report')}\n({with_error(trial, name, 'search')})"


def _notes(report: Report) -> list[Text]:
    """Return what to know about the recommended trials before trusting their numbers."""
    by_number = {trial.number: trial for trial in report.trials if trial.state != "running"}
    lines = []
    for pick in report.picks:
        same = report.alike.get(pick.number, [])
        apart = [f"cannot be told apart from {trials_text(same)}"] if same else []
        for note in (*apart, *by_number[pick.number].cautions):
            lines.append(Text(f"trial {pick.number:<3} {note}", style="yellow"))
    few = few_facts(report.controls.forget_facts if report.controls else None)
    wrong = report.prompt.warning if report.prompt is not None else None
    return [*lines, *(Text(note, style="yellow") for note in (few, wrong) if note)]


def _places(report: Report, directory: Path | str) -> list[tuple[str, str]]:
    page = Path(directory) / "report" / "index.html"
    tracking = mlflow_command(directory, report.tracking)
    places = [("Report", str(page) if page.exists() else _runnable(report_command(directory)))]
    places.append(("Browser", _runnable(serve_command(directory))))
    if tracking is not None:
        places.append(("MLflow", _runnable(tracking)))
        page = noted_page(Path(directory))
        places += [("", f"then open {page}")] if page is not None else []
    if importlib.util.find_spec("optuna_dashboard") is not None:
        places.append(("Optuna", _runnable(optuna_command(directory))))
    places.append(("Status", _runnable(status_command(directory))))
    places.append(("Answers", _runnable(answers_command(directory))))
    if report.picks:
        places.append(("Export", _runnable(export_command(directory, report.picks[0].number))))
    return places


def _runnable(command: str) -> str:
    """Return the command with the path of its program if the shell would not find it."""
    name, _, rest = command.partition(" ")
    return f"{program(name)} {rest}"
