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
from tests.support.tiny_authors import OPTIONS, PREFILL, make_ready, tiny_job
from tests.sweeps.report.written_sweep import controls, mixed_trials, special, write_sweep
from unlearn_sweep.engine.search_space import LogUniform, MethodSpace
from unlearn_sweep.engine.study.enqueued import read_setting, waiting_files
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.records import SweepNotFoundError
from unlearn_sweep.sweeps.report.table import trials_csv
from unlearn_sweep.user_error import UserError


def test_importing_the_package_loads_nothing_else() -> None:
    loaded = "[name for name in sys.modules if name.startswith(('unlearn_sweep.', 'pandas'))]"
    code = f"import sys, unlearn_sweep; print({loaded})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
    assert {"Sweep", "audit", "method_loss", "open", "score_rows"} <= set(us.__all__)
    assert all(getattr(us, name) for name in us.__all__)
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


def test_a_setting_is_enqueued_and_mistakes_of_it_and_of_an_audit_are_user_errors(tmp_path: Path) -> None:
    space = MethodSpace(method="npo", params={"beta": LogUniform(low=0.05, high=1.0)})
    spec = {"spaces": [space.to_json()], "search": {"trials": 30}}
    sweep = us.open(write_sweep(tmp_path / "demo", mixed_trials(1), wanted=30, ended="sweep_stopped", spec=spec))
    assert "when the sweep goes on" in sweep.enqueue({"npo": {"beta": 0.1}})
    (waiting,) = waiting_files(sweep.directory)
    assert read_setting(waiting, [space]).setting.params == {"beta": 0.1}
    with pytest.raises(UserError, match=r"0\.05 to 1"):
        sweep.enqueue({"npo": {"beta": 3.0}})
    with pytest.raises(UserError, match="authors"):
        us.audit(tmp_path / "no-model", "authrs", storage=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_audit_of_the_gold_model_finds_it_at_its_anchor(tmp_path: Path) -> None:
    """Oracle: gold is the end of the scale, UE and Rob 1; the original is the other."""
    _, prepared, _ = make_ready(tiny_job(tmp_path, "made", [PREFILL]))
    gold, original = prepared.paths["gold"], prepared.paths["original"]
    given = {"gold": gold, "original": original, "settings": OPTIONS, "storage": tmp_path}
    done = us.audit(gold, "authors", attacks=[{"prefill": {"tokens": [1]}}], name="gold", **given)
    assert len(done.trials) == 1
    assert done.trials["ue"].iloc[0] >= 0.95
    assert done.trials["rob"].iloc[0] >= 0.95
    assert len(done.plot_front().to_dict()["data"]) > 1


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


def test_a_notebook_completes_the_public_names() -> None:
    import unlearn_sweep as us

    assert {"Sweep", "open", "audit", "method_loss", "score_rows"} <= set(dir(us))
    assert all(hasattr(us, name) for name in dir(us))
