"""The Python interface. Oracles: the records, trials.csv of the same sweep, and the example of its page."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import unlearn_sweep as us
from tests.support.answered_sweep import benchmark, write_answered_sweep
from tests.support.docs_pages import examples
from tests.sweeps.report.written_sweep import controls, mixed_trials, special, write_sweep
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.records import SweepNotFoundError
from unlearn_sweep.sweeps.report.table import trials_csv
from unlearn_sweep.user_error import UserError


def test_importing_the_package_loads_nothing_else() -> None:
    loaded = "[name for name in sys.modules if name.startswith(('unlearn_sweep.', 'pandas'))]"
    code = f"import sys, unlearn_sweep; print({loaded})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
    assert {"Sweep", "open"} <= set(us.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = us.nothing  # pyright: ignore[reportAttributeAccessIssue]


def test_trials_are_those_of_the_table(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(6))
    trials = us.open(folder).trials
    table = pd.read_csv(io.StringIO(trials_csv(load_report(folder))), index_col="number")
    assert list(trials.columns) == list(table.columns)
    assert trials["method"].tolist() == table["method"].tolist()
    for name in ("ue", "ut", "rob", "report_rob", "ue_standard_error", "param.learning_rate"):
        assert trials[name].fillna(-1.0).tolist() == pytest.approx(table[name].fillna(-1.0).tolist())
    failed = next(record.number for record in mixed_trials(6) if record.state == "failed")
    assert pd.isna(trials.loc[failed, "ue"])


def test_the_front_is_the_reports(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(6))
    front = us.open(folder).front
    assert front["key"].tolist() == [trial.key for trial in load_report(folder).trials if trial.on_front]
    assert 0 < len(front) < 6


def test_controls_are_one_line_a_number(tmp_path: Path) -> None:
    found = us.open(write_sweep(tmp_path / "demo", mixed_trials(1))).controls
    wanted = [(c.model, m.value) for c in (controls().original, controls().gold) for m in c.measured]
    assert list(zip(found["model"], found["value"], strict=True)) == wanted
    assert us.open(write_sweep(tmp_path / "new", [], with_controls=False)).controls.empty


def test_answers_of_a_trial(tmp_path: Path) -> None:
    sweep = us.open(write_answered_sweep(tmp_path / "runs" / "demo"))
    found = sweep.answers(sweep.trials.index[1])
    assert set(found["model"]) == {"original", "gold", "trial 1"}
    assert set(found["reference"]) == {row.answer for split in benchmark().evaluation.values() for row in split}
    assert found.attrs["problems"] == []
    with pytest.raises(UserError, match="no record of trial 9"):
        sweep.answers(9)


def test_a_notebook_shows_the_front_and_texts_are_escaped(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [*mixed_trials(3), special(8, "naughty")])
    shown = us.open(folder)._repr_html_()
    assert "<b>demo</b>: finished, 8 of 9 trials settled" in shown
    assert "<script>" not in shown
    assert "<table" in shown


def test_mistakes_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(SweepNotFoundError, match="no sweep"):
        us.open(tmp_path)
    file = tmp_path / "bad.yaml"
    file.write_text("name: x\nbenchmark: {name: author}\nmethods: {np: {}}\n")
    with pytest.raises(UserError) as error:
        us.Sweep.load(file)
    assert "author" in str(error.value)
    assert "np" in str(error.value)
    with pytest.raises(UserError, match="opened by its folder"):
        us.open(write_sweep(tmp_path / "demo", mixed_trials(1))).run()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_example_of_the_page_runs_as_it_is(tmp_path: Path) -> None:
    shutil.copy("sweeps/quickstart.yaml", tmp_path)
    (tmp_path / "example.py").write_text(examples("library.md")["example.py"])
    environment = {**os.environ, "PYTHONPATH": str(Path("src").resolve())}
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert "param.learning_rate" in done.stdout
    front = us.open(tmp_path / "runs" / "quickstart").front
    assert all(f"{value:.6f}" in done.stdout for value in front["ue"])
    assert re.search(r"^model +gold +original +trial \d+$", done.stdout, re.MULTILINE)
