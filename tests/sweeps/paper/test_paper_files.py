"""Every file of a paper, from its rows to the comparison table. Oracles: validate and plan, and the rows of the store.

Rows are made in the published schema and the model is one that the sweep makes, so no number is comparable here: that
every one says why is tested, and that each value is the mean of its rows.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.evaluators.judge.server import Reply, serving
from tests.support.in_process_sweep import run_in_process
from tests.support.paper_files import FOLDER, on_made_rows
from tests.support.written_views import writes
from tests.sweeps.views.test_write_views import name_writer
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.evaluators.paper_cards import PAPER_CARDS, Line, Reading, paper_card
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.file.spec import load_spec
from unlearn_sweep.sweeps.paper.sweep import compare_paper
from unlearn_sweep.sweeps.resolve import resolve

NAMES = [card.name for card in PAPER_CARDS]
JUDGED: dict[str, dict[str, list[str]]] = {
    "jensun": {"ue": ["judge_worst", "contained_worst"], "ut": ["judge_accuracy", "choice_accuracy", "win_rate"]},
}
"""Metrics that need a judge, as the comment at the top of a file names them."""


def verdict(row: dict[str, Any], before: int) -> Reply:
    """YES where the answer stands in the response; of two responses the longer one."""
    if "response" in row:
        return Reply(text="YES" if row["correct_answer"] in row["response"] else "NO")
    return Reply(text="A" if len(row["A"]) >= len(row["B"]) else "B")


def made(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """The file on made rows, with its views written."""
    file = on_made_rows(name, folder, **changes)
    if "views" in json.loads(file.read_text()):
        with serving(writes) as endpoint:
            name_writer(monkeypatch, endpoint)
            done = CliRunner().invoke(app, ["write-views", str(file)])
            assert done.exit_code == 0, done.output
    return file


def test_every_file_has_a_card_and_every_card_a_file() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_an_example_and_has_one_trial_for_each_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = CliRunner().invoke(app, ["example", f"papers/{name}"])
    assert shown.stdout == (FOLDER / f"{name}.yaml").read_text()
    file = made(name, tmp_path, monkeypatch)
    plan = json.loads(CliRunner().invoke(app, ["plan", str(file), "--json", "--cpus", "64"]).stdout)
    assert plan["obstacles"] == []
    lines = {(line.method, *sorted(line.params.items())) for line in found(name) if line.model == "trial"}
    assert plan["trials"] >= len(lines)


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_file_has_no_mistake_but_views_that_are_not_written(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    file = str(FOLDER / f"{name}.yaml")
    done = CliRunner().invoke(app, ["validate", file])
    mistakes = [line for line in done.stderr.splitlines() if line.startswith(f"{file}:") and "mistake" not in line]
    if name in ("gao", "full_stack", "rwku"):
        assert mistakes
        assert all("which is not written: run unlearn-sweep write-views" in line for line in mistakes)
        return
    assert done.exit_code == 0, done.stderr
    plan = json.loads(CliRunner().invoke(app, ["plan", file, "--json"]).stdout)
    assert plan["obstacles"] == []
    assert plan["trials"] >= len([line for line in found(name) if line.model == "trial"])


def found(name: str) -> list[Line]:
    card = paper_card(name)
    assert card is not None
    return list(card.lines.values())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_runs_to_its_table(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(verdict) as judge:
        for variable, value in {"URL": judge.url, "MODEL": "judge-2025-01-01"}.items():
            monkeypatch.setenv(f"UNLEARN_SWEEP_JUDGE_{variable}", value)
        changes = {"evaluators": JUDGED[name]} if name in JUDGED else {}
        job = resolve(load_spec(made(name, tmp_path, monkeypatch, **changes), cpus=4, gpus=0))
        records = run_in_process(job, InProcessExecutor())
    assert {record.state for record in records} <= {"complete", "collapsed"}, [record.reason for record in records]
    comparison = compare_paper(job.directory, name)
    assert not any(one.comparable for one in comparison.compared), "a made model on made rows compares with nothing"
    lines = {one.published.method for one in comparison.compared if one.here is not None}
    assert lines == {name for name in comparison.card.lines if comparison.compared}
    for one in comparison.compared:
        reading = comparison.card.readings.get(one.published.metric)
        if one.trial is not None and one.here is not None and isinstance(reading, Reading) and not reading.attack:
            assert one.difference == pytest.approx(one.here - one.published.value)
            expected = mean_of_rows(job.storage, records, one.trial, reading)
            assert expected is None or one.here == pytest.approx(expected), one
    assert all(own.value is not None for own in comparison.superficial.values()), comparison.superficial
    assert list(comparison.superficial) == (list(comparison.card.lines) if name == "gao" else [])
    table = CliRunner().invoke(app, ["compare-paper", str(job.directory)], env={"COLUMNS": "160"})
    assert table.exit_code == 0, table.output
    if comparison.compared:
        assert "other model: a small model made by the benchmark's recipe" in table.stdout
        assert "other rows: read from a folder" in table.stdout
        assert ("other judge: judge-2025-01-01" in table.stdout) == (name in JUDGED)
    else:
        assert "papers.csv has no number of this paper" in table.stdout


def mean_of_rows(storage: Path, records: list[TrialRecord], trial: int, reading: Reading) -> float | None:
    """The plain mean of the stored rows; None for what is no mean of one column."""
    record = next(record for record in records if record.number == trial)
    rows = pd.read_parquet(storage / "store" / "stages" / record.stage_keys["evaluate"] / "rows.parquet")
    if reading.form != "value" or reading.metric not in rows.columns:
        return None
    chosen = rows[(rows["split"] == reading.split) & rows["row_id"].str.startswith(reading.rows)]
    values = [float(value) for value in chosen[reading.metric].tolist() if value == value]
    return fmean(values) * reading.scale
