"""Oracle: the picks of the report and the commands of the command line."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.sweeps.report.written_sweep import mixed_trials, special, trial, write_sweep
from unlearn_sweep.engine.store.records import AttackScore, SeedScore
from unlearn_sweep.sweeps.report.build import build_report, load_report
from unlearn_sweep.sweeps.report.document import ReportTrial
from unlearn_sweep.sweeps.report.html_parts import settings_text
from unlearn_sweep.sweeps.report.summary import final_table


def _shown(folder: Path) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    final_table(folder, console)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_the_three_picks_and_the_next_commands(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(9))
    build_report(folder)
    text, report = _shown(folder), load_report(folder)
    assert len(report.picks) == 3
    by_number = {trial.number: trial for trial in report.trials}
    for pick in report.picks:
        trial = by_number[pick.number]
        assert f"{trial.report_ue:.2f}" in text
        assert f"({trial.ue:.2f} ± 0.02)" in text
        assert pick.roles[0] in text
    assert str(folder / "report" / "index.html") in text
    assert f"mlflow ui --backend-store-uri sqlite:///{tmp_path / 'mlflow.db'}" in text
    assert f"unlearn-sweep status {folder}" in text
    assert f"unlearn-sweep export {folder} {report.picks[0].number} " in text


def test_without_a_report_the_command_that_makes_it_is_named(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(3))
    assert f"unlearn-sweep report {folder}" in _shown(folder)


def test_a_sweep_in_which_everything_failed_says_why(tmp_path: Path) -> None:
    text = _shown(write_sweep(tmp_path / "demo", [special(0, "failed"), special(1, "failed")]))
    assert "No trial has all its objectives yet (2 failed)" in text
    assert "trial 0 (graddiff) failed: OutOfMemoryError" in text
    assert "export" not in text


def test_the_address_of_mlflows_runs_page_follows_its_command(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(3))
    assert "then open" not in _shown(folder)
    page = "http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=abc"
    (folder / "mlflow.json").write_text(json.dumps({"runs_page": page}))
    assert f"then open {page}" in _shown(folder)


def test_mlflow_is_left_out_where_it_is_off(tmp_path: Path) -> None:
    assert "mlflow ui" not in _shown(write_sweep(tmp_path / "demo", mixed_trials(3), spec={"mlflow": "off"}))


def test_what_pruning_saved_is_said_in_the_table_and_on_the_page(tmp_path: Path) -> None:
    skipped = AttackScore(attack="quantize-4bit", family="quantize", value=None, skipped=True, reason="beaten")
    bound = trial(1).model_copy(update={"attacks": [skipped], "rob_is_bound": True})
    folder = write_sweep(tmp_path / "demo", [trial(0), bound])
    said = re.search("1 attack of 1 trial skipped, about [0-9.]+ s saved", _shown(folder))
    assert said
    assert said[0] in build_report(folder).page.read_text()


def test_finalists_are_shown_with_mean_and_spread(tmp_path: Path) -> None:
    """Report halves 0.6 and 0.8: mean 0.7, deviation 0.1414; the failed seed is counted and named."""
    best = trial(0).model_copy(update={"ue": 1.0, "ut": 1.0, "rob": 1.0, "report_ue": 0.6, "report_rob": 0.5})
    shared = {"key": "k", "started": 0.0, "finished": 1.0}
    good = SeedScore(seed=8, state="complete", ue=0.9, ut=0.9, rob=0.9, report_ue=0.8, **shared)
    bad = SeedScore(seed=9, state="failed", reason="out of memory", **shared)
    folder = write_sweep(tmp_path / "demo", [best.model_copy(update={"seeds": [good, bad]})])
    assert "over 2 of 3 seeds: UE 0.70 ± 0.14" in _shown(folder)
    page = build_report(folder).page.read_text()
    assert "0.70 ± 0.14" in page
    assert "seed 9 failed: out of memory" in page


def _tried(method: str, params: dict[str, Any]) -> ReportTrial:
    return ReportTrial(key="k", number=0, method=method, params=params, seed=0, state="complete")


def test_settings_tell_what_is_not_usual() -> None:
    usual = {"learning_rate": 1e-5, "epochs": 10, "beta": 0.1, "compat": "none", "retain": "nll"}
    assert settings_text(_tried("npo", usual)) == "learning_rate=1e-05, epochs=10"
    assert settings_text(_tried("npo", usual | {"beta": 0.123456})) == "learning_rate=1e-05, epochs=10, beta=0.1235"
    assert settings_text(_tried("gone", {"beta": 0.1})) == "beta=0.1"
