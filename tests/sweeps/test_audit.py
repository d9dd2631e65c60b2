"""The audit command before anything starts. Oracle: what a person typed, and exit status 2 with nothing written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.docs_pages import examples
from tests.support.model_folders import write_model_folder
from tests.support.tiny_authors import OPTIONS, make_ready, tiny_job
from unlearn_sweep.plugins import use
from unlearn_sweep.sweeps.audit import BATTERY, AuditRequest, CheckedAudit, check
from unlearn_sweep.sweeps.cli import app


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a model's; nothing here reads its weights."""
    return write_model_folder(tmp_path / "unlearned")


def _problems(*options: str) -> dict[str, dict[str, str]]:
    done = CliRunner().invoke(app, ["audit", *options, "--json"])
    assert done.exit_code == 2, done.output
    return {problem["path"]: problem for problem in json.loads(done.stdout)["problems"]}


def test_every_mistake_is_told_at_once_by_its_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    found = _problems(
        "--model", "nothing", "--gold", "also/missing/here", "--original", "./gone", "--benchmark", "authrs",
        "--attack", "relern", "--attack", "{quantize: {bits: 99}}", "--name", "../up", "--storage", "file",
    )  # fmt: skip
    assert set(found) == {
        "--model", "--gold", "--original", "--benchmark", "--attack relern", "--attack quantize.bits", "--name",
        "--storage",
    }  # fmt: skip
    assert found["--benchmark"]["nearest"] == "authors"
    assert found["--attack relern"]["nearest"] == "relearn"
    assert found["--attack quantize.bits"]["given"] == "99"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_text("")
    assert "pickled" in _problems("--model", str(folder), "--benchmark", "authors")["--model"]["message"]


def test_options_of_the_benchmark_are_checked(model: Path) -> None:
    found = _problems("--model", str(model), "--benchmark", "authors", "--set", "autors=3", "--set", "authors=none")
    assert set(found) == {"--set autors", "--set authors"}
    assert found["--set autors"]["nearest"] == "authors"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """The benchmark, metric and attack of docs/extend.md as files."""
    for name, text in examples("extend.md").items():
        (tmp_path / name).write_text(text)
    yield tmp_path
    use(())


def test_plugins_give_benchmark_metric_and_attack(model: Path, own: Path) -> None:
    files = [str(own / f"my_{kind}.py") for kind in ("benchmark", "metric", "attack")]
    options: dict[str, Any] = {"benchmark": "sums", "settings": ["numbers=6"], "ue": ["word_recall"]}
    checked = _checked(model, plugins=files, attacks=["noise: {scale: [0.1]}"], **options)
    assert [Path(file.path) for file in checked.job.plugins] == [Path(file) for file in files]
    assert (checked.job.benchmark.name, checked.job.ue_metrics) == ("sums", ["word_recall"])
    assert [attack.label for attack in checked.job.attacks] == ["noise"]
    assert checked.controls == ("original", "gold")


def test_a_plugin_is_checked_with_the_other_options(model: Path, own: Path) -> None:
    (own / "broken.py").write_text("raise RuntimeError('no licence')")
    found = _problems(
        "--model", str(model), "--benchmark", "sums", "--plugin", str(own / "broken.py"), "--dtype", "float64"
    )  # fmt: skip
    assert set(found) >= {"--plugin", "--benchmark", "--dtype"}
    assert "line 1: RuntimeError: no licence" in found["--plugin"]["message"]


def test_a_plain_text_run_ends_with_status_2_and_no_traceback(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["audit", "--model", str(tmp_path), "--benchmark", "authors"])
    assert done.exit_code == 2
    assert done.stderr.startswith("audit: 1 mistake; nothing was started or written.")


def _checked(model: Path, **options: Any) -> CheckedAudit:
    return check(AuditRequest(**{"model": str(model), "benchmark": "authors", "folder": model.parent, **options}))


def test_the_job_has_one_trial_no_search_and_the_whole_battery(model: Path) -> None:
    checked = _checked(model)
    assert (checked.job.search.trials, checked.job.search.prune, checked.job.spaces) == (1, False, [])
    assert [attack.name for attack in checked.job.attacks] == [
        item if isinstance(item, str) else next(iter(item)) for item in BATTERY
    ]
    assert checked.controls == ("original", "gold")  # by the benchmark's own recipe
    assert checked.notes == ()
    assert checked.model == str(model)


def test_given_controls_and_benchmark_options_reach_the_job(model: Path) -> None:
    checked = _checked(
        model, gold=str(model), settings=("authors=12", "forget_authors=4"), attacks=("{relearn: {steps: [3]}}",)
    )
    assert checked.job.gold.path == str(model)
    assert checked.job.original.path is None
    assert (checked.job.benchmark.params["authors"], checked.job.benchmark.params["forget_authors"]) == (12, 4)
    assert [(attack.name, attack.params["steps"]) for attack in checked.job.attacks] == [("relearn", [3])]


def test_two_audits_never_share_a_folder_by_accident(model: Path) -> None:
    folders = {
        _checked(model, **options).job.directory for options in ({}, {"seed": 1}, {"settings": ("forget_authors=5",)})
    }
    assert len(folders) == 3
    assert _checked(model, name="mine").job.directory.name == "mine"


def test_gold_may_be_chance_where_no_gold_model_can_exist(model: Path) -> None:
    assert _checked(model, gold="chance").job.gold.floor == "chance"


@pytest.mark.slow
def test_the_command_writes_the_same_report_as_a_sweep(tmp_path: Path) -> None:
    """The gold model is audited as if somebody had made it: UE and Rob near 1, one trial, every attack."""
    _, prepared, _ = make_ready(tiny_job(tmp_path / "made", "made", []))
    options = [part for name, value in OPTIONS.items() for part in ("--set", f"{name}={value}")]
    models = ["--model", prepared.paths["gold"], "--gold", prepared.paths["gold"]]
    attacks = ["--attack", "{quantize: {bits: 8}}", "--attack", "{prefill: {tokens: [1]}}"]
    command = [
        "audit", *models, "--original", prepared.paths["original"], "--benchmark", "authors", *options, *attacks,
        "--storage", str(tmp_path / "runs"), "--name", "theirs", "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [(trial["number"], trial["method"], trial["state"]) for trial in report["trials"]] == [
        (0, "audit", "complete")
    ]
    assert min(report["trials"][0]["ue"], report["trials"][0]["rob"]) >= 0.9
    assert [attack["attack"] for attack in report["trials"][0]["attacks"]] == ["quantize-8bit", "prefill"]
    assert report["controls"]["original"]["ut"] == 1.0
    assert (tmp_path / "runs" / "theirs" / "report" / "index.html").exists()
    again = CliRunner().invoke(app, command)
    assert json.loads(again.stdout)["trials"] == report["trials"]
