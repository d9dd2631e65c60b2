"""Objectives against requests in the report. Oracle: dominance by hand over a few written records."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

from tests.sweeps.report.written_sweep import trial, write_sweep
from unlearn_sweep.engine.store.records import RequestScore, TrialRecord
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.report.document import make_report
from unlearn_sweep.sweeps.report.html_parts import request_table
from unlearn_sweep.sweeps.report.records import read_sweep
from unlearn_sweep.sweeps.report.summary import final_table

WAY = {0: [(0.9, 0.5), (0.8, 0.4)], 1: [(0.4, 0.9), (0.5, 0.5)], 2: [(0.3, 0.8), (0.9, None)]}
SPEC = {"requests": {"after": [1, 2, 4], "mode": "sequence"}}


def records() -> list[TrialRecord]:
    return [
        trial(number).model_copy(
            update={
                "requests": [
                    RequestScore(after=after, ue=ue, ut=ut, report_ue=ue, report_ut=ut)
                    for after, (ue, ut) in enumerate(way, start=1)
                ]
            }
        )
        for number, way in WAY.items()
    ]


def test_the_front_is_told_after_each_request(tmp_path: Path) -> None:
    """After 1, trial 2 is beaten by trial 1; after 2 it lacks UT, and the others trade UE for UT."""
    directory = write_sweep(tmp_path / "asked", records(), spec=SPEC)
    found = make_report(read_sweep(directory)).requests
    assert [(line.after, line.last) for line in found] == [(1, False), (2, False), (4, True)]
    fronts = [{trial.number for trial in line.trials if trial.on_front} for line in found]
    assert fronts[:2] == [{0, 1}, {0, 1}]
    report = make_report(read_sweep(directory))
    assert fronts[2] == {trial.number for trial in report.trials if trial.on_front}
    assert [trial.rob for trial in found[0].trials] == [None, None, None]
    assert [trial.rob for trial in found[2].trials] == [trial.rob for trial in report.trials]


def test_json_text_and_page_show_every_request(tmp_path: Path) -> None:
    directory = write_sweep(tmp_path / "asked", records(), spec=SPEC)
    done = CliRunner().invoke(app, ["report", str(directory), "--json"])
    assert [line["after"] for line in json.loads(done.stdout)["requests"]] == [1, 2, 4]
    report = make_report(read_sweep(directory))
    page = request_table(report)
    shown = next(trial for line in report.requests for trial in line.trials if trial.on_front)
    assert f"{shown.number} {shown.method}" in page
    console = Console(file=io.StringIO(), width=200, color_system=None)
    with console.capture() as printed:
        final_table(directory, console)
    assert "after requests 1: UE" in printed.get()


def test_a_sweep_without_requests_shows_none(tmp_path: Path) -> None:
    report = make_report(read_sweep(write_sweep(tmp_path / "one", [trial(0)])))
    assert report.requests == []
    assert request_table(report) == ""
