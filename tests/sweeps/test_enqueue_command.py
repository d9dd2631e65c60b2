"""`unlearn-sweep enqueue` and the server's request. Oracle: the file that the driver reads, and the words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.sweeps.report.written_sweep import mixed_trials, write_sweep
from tests.sweeps.serve.test_server import asked, driver, served
from unlearn_sweep.engine.search_settings import Configuration
from unlearn_sweep.engine.search_space import Fixed, LogUniform, MethodSpace, Scalar
from unlearn_sweep.engine.study.enqueued import read_setting, waiting_files
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.report.status import status

SPACES = [
    MethodSpace(method="npo", params={"learning_rate": LogUniform(low=1e-6, high=1e-3), "retain": Fixed("nll")}),
    MethodSpace(method="graddiff", params={"learning_rate": LogUniform(low=1e-6, high=1e-3)}),
]


def _sweep(folder: Path, *, running: int = 1, **options: object) -> Path:
    search = {"trials": 30, **options}
    spec = {"spaces": [space.to_json() for space in SPACES], "search": search}
    ended = None if running else "sweep_stopped"
    return write_sweep(folder, mixed_trials(2), wanted=30, running=running, ended=ended, spec=spec, front=False)


def _enqueued(folder: Path) -> list[Configuration]:
    return [read_setting(path, SPACES).setting for path in waiting_files(folder)]


@pytest.mark.parametrize(
    ("text", "method", "params"),
    [
        ("{npo: {learning_rate: 1e-5}}", "npo", {"learning_rate": 1e-5}),
        ("{method: npo, learning_rate: 1e-5, retain: nll}", "npo", {"learning_rate": 1e-5, "retain": "nll"}),
        ("graddiff", "graddiff", {}),
        ("{graddiff: }", "graddiff", {}),
    ],
)
def test_a_setting_waits_for_the_driver(tmp_path: Path, text: str, method: str, params: dict[str, Scalar]) -> None:
    folder = _sweep(tmp_path / "demo")
    with driver(folder):
        done = CliRunner().invoke(app, ["enqueue", str(folder), text])
    assert done.exit_code == 0, done.output
    assert _enqueued(folder) == [Configuration(method=method, params=params)]
    assert "as soon as a trial may start" in done.output
    assert len(status(folder)["enqueued"]) == 1
    assert CliRunner().invoke(app, ["status", str(folder)]).output.count("enqueued, to be tried next: " + method) == 1


def test_when_it_is_tried_is_said(tmp_path: Path) -> None:
    stopped, full = _sweep(tmp_path / "stopped", running=0), _sweep(tmp_path / "full", trials=2)
    repeated = _sweep(tmp_path / "repeated", reproducible=True)
    said = {folder: CliRunner().invoke(app, ["enqueue", str(folder), "npo"]).output for folder in (stopped, full)}
    assert "when the sweep goes on" in said[stopped]
    assert "until the sweep is extended" in said[full]
    with driver(repeated):
        assert "not those of the sweep file" in CliRunner().invoke(app, ["enqueue", str(repeated), "npo"]).output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{npoo: {}}", "npo"),
        ("{npo: {learning_rat: 1e-5}}", "learning_rate"),
        ("{npo: {learning_rate: 1}}", "1e-06 to 0.001"),
        ("{npo: {learning_rate: }}", "1e-06 to 0.001"),
        ("{method: npo, retain: kl}", "nll, which methods fixes"),
        ("{npo: {}, graddiff: {}}", "one method"),
        ("{}", "one method"),
        ("[npo]", "not a setting"),
        ("{npo: 3}", "not a setting"),
        ("3", "not a setting"),
        ("{npo: {", "YAML"),
        (" ", "is empty"),
    ],
)
def test_mistakes_write_nothing(tmp_path: Path, text: str, words: str) -> None:
    folder = _sweep(tmp_path / "demo")
    done = CliRunner().invoke(app, ["enqueue", str(folder), text])
    assert done.exit_code == 2
    assert words in done.output
    assert waiting_files(folder) == []


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, write_sweep(tmp_path / "demo", mixed_trials(1))):
        done = CliRunner().invoke(app, ["enqueue", str(folder), "npo"])
        assert done.exit_code == 2
        assert "no sweep" in done.output or "no search space" in done.output


def test_the_server_takes_a_setting_with_the_token_only(tmp_path: Path) -> None:
    folder = _sweep(tmp_path / "demo")
    with served(folder) as (address, token), driver(folder):
        assert asked(f"{address}enqueue", method="POST", body="npo")[0] == 403
        assert _enqueued(folder) == []
        given = {"X-Token": token}
        code, text = asked(f"{address}enqueue", method="POST", body="{npo: {learning_rate: 1e-5}}", **given)
        assert (code, json.loads(text)["setting"]) == (200, "npo learning_rate=1e-05")
        assert _enqueued(folder) == [Configuration(method="npo", params={"learning_rate": 1e-5})]
        code, text = asked(f"{address}enqueue", method="POST", body="{npoo: {}}", **given)
        assert (code, "write npo" in json.loads(text)["error"]) == (409, True)
        assert asked(f"{address}enqueue", method="POST", body="x" * 20_000, **given)[0] == 413
        assert json.loads(asked(f"{address}live.json")[1])["enqueued"] == ["npo learning_rate=1e-05"]
