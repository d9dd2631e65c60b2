"""`status` of a storage. Oracle: the sweeps that were written there, and `status` of each."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.sweeps.report.written_sweep import mixed_trials, write_sweep
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.report.status import status

runner = CliRunner()


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `runs` in the current folder, with two sweeps; `second` was written to last."""
    monkeypatch.chdir(tmp_path)
    for at, (name, trials) in enumerate({"first": 3, "second": 5}.items(), start=1):
        events = write_sweep(tmp_path / "runs" / name, mixed_trials(trials)) / "events.jsonl"
        os.utime(events, (at, at))
    return tmp_path / "runs"


def test_without_a_folder_all_sweeps_are_listed_and_the_last_one_is_shown(storage: Path) -> None:
    shown = runner.invoke(app, ["status"])
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert [line[0] for line in lines[1:3]] == ["second", "first"]
    settled = {name: status(storage / name)["settled"] for name in ("first", "second")}
    assert [line[2] for line in lines[1:3]] == [str(settled["second"]), str(settled["first"])]
    whole = runner.invoke(app, ["status", "runs/second"]).stdout
    assert shown.stdout.endswith(whole)


def test_json_of_a_storage_is_a_list_and_of_a_sweep_one_state(storage: Path) -> None:
    listed = json.loads(runner.invoke(app, ["status", "--json"]).stdout)
    assert [Path(one["directory"]).name for one in listed] == ["second", "first"]
    assert json.loads(runner.invoke(app, ["status", "runs/first", "--json"]).stdout)["settled"] == listed[1]["settled"]


def test_one_sweep_is_shown_without_a_list(storage: Path) -> None:
    (storage / "second" / "events.jsonl").unlink()
    shown = runner.invoke(app, ["status"]).stdout
    assert shown == runner.invoke(app, ["status", "runs/first"]).stdout


def test_no_sweep_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(app, ["status"])
    assert done.exit_code == 2
    assert "runs" in done.stderr
    assert "<storage>/<sweep name>" in done.stderr
