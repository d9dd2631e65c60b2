"""The commands as a person or a script calls them. Oracles: exit statuses, JSON shapes, and the catalogs themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.methods.catalog import METHODS, WRAPPERS
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.file.yaml_lines import read_document

runner = CliRunner()


def answer(*arguments: str, status: int = 0) -> Any:
    done = runner.invoke(app, list(arguments))
    assert done.exit_code == status, done.output
    return json.loads(done.stdout)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(sweep_text(storage=f"storage: {tmp_path / 'results'}"))
    return str(path)


def test_help_names_every_command() -> None:
    done = runner.invoke(app, ["--help"])
    words = set(done.stdout.split())
    wanted = [
        "run",
        "plan",
        "validate",
        "schema",
        "status",
        "report",
        "export",
        "methods",
        "evaluators",
        "attacks",
        "benchmarks",
        "doctor",
    ]
    assert words.issuperset(wanted)


def test_methods() -> None:
    facts = answer("methods", "--json")
    assert [entry["name"] for entry in facts] == [*METHODS, *WRAPPERS]
    for entry in facts:
        assert entry.keys() >= {"name", "kind", "family", "paper", "needs", "params"}
        assert entry["kind"] in ("method", "wrapper")
        for param in entry["params"]:
            assert param.keys() >= {"name", "default", "range", "scale", "source"}
    npo = next(entry for entry in facts if entry["name"] == "npo")
    beta = next(param for param in npo["params"] if param["name"] == "beta")
    card = METHODS["npo"].param("beta")
    assert card is not None
    assert card.search is not None
    assert (beta["default"], beta["range"], beta["scale"]) == (card.default, list(card.search), card.scale)


def test_evaluators() -> None:
    facts = answer("evaluators", "--json")
    assert [entry["name"] for entry in facts] == list(METRICS)
    keys = {"name", "summary", "group", "serves", "needs", "range", "unit", "chance", "source"}
    assert all(entry.keys() >= keys for entry in facts)


def test_attacks() -> None:
    facts = answer("attacks", "--json")
    assert [entry["name"] for entry in facts] == list(ATTACKS)
    relearn = next(entry for entry in facts if entry["name"] == "relearn")
    assert relearn["family"] == "relearn"
    params = {param["name"]: param for param in relearn["params"]}
    assert params["steps"]["default"] == [5, 20, 100]
    assert not params["steps"]["required"]


def test_benchmarks() -> None:
    facts = answer("benchmarks", "--json")
    assert [entry["name"] for entry in facts] == list(BENCHMARKS)
    assert all(entry.keys() >= {"name", "summary", "metrics", "licence", "source", "params"} for entry in facts)


@pytest.mark.parametrize("command", ["methods", "evaluators", "attacks", "benchmarks"])
def test_lists_are_readable(command: str) -> None:
    done = runner.invoke(app, [command])
    assert done.exit_code == 0
    for entry in answer(command, "--json"):
        assert entry["name"] in done.stdout


def test_schema_fits_the_quickstart() -> None:
    schema = answer("schema")
    jsonschema.validate(read_document(Path("sweeps/quickstart.yaml")).data, schema)


def test_validate(file: str, tmp_path: Path) -> None:
    facts = answer("validate", file, "--json")
    assert facts["rows"].startswith("checked; to train on ")
    assert facts == {
        "file": file,
        "valid": True,
        "name": "small",
        "methods": ["npo", "graddiff"],
        "trials": 4,
        "attacks": ["relearn"],
        "attacker_settings": {},
        "rows": facts["rows"],
        "benchmark": "authors",
        "directory": str(tmp_path / "results" / "small"),
        "notes": [],
        "problems": [],
    }
    plain = runner.invoke(app, ["validate", file])
    assert plain.exit_code == 0
    assert "4 trials of npo, graddiff on authors" in plain.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.yaml"]


def test_plan(file: str, tmp_path: Path) -> None:
    facts = answer("plan", file, "--trials", "6", "--storage", str(tmp_path / "other"), "--json")
    assert facts["trials"] == 6
    assert facts["directory"] == str(tmp_path / "other" / "small")
    assert [method["trials"] for method in facts["methods"]] == [3, 3]
    assert facts["total_seconds"] > 0
    larger = answer("plan", file, "--cpus", "64", "--json")
    assert (larger["at_once"], larger["bound_by"]) == (4, "trials")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.yaml"]


def test_a_plan_that_cannot_run_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(sweep_text(attacks="attacks: [{relearn: {data: nowhere}}]"))
    facts = answer("plan", str(path), "--json", status=2)
    assert "nowhere" in facts["obstacles"][0]
    assert "cannot run" in runner.invoke(app, ["plan", str(path)]).stdout


def test_doctor() -> None:
    done = runner.invoke(app, ["doctor", "--json"])
    assert done.exit_code in (0, 1)
    assert all(finding.keys() >= {"name", "status", "detail"} for finding in json.loads(done.stdout))


@pytest.mark.parametrize("command", [["status"], ["report"], ["report", "--json"], ["export"], ["sync"]])
def test_a_folder_that_is_no_sweep(command: list[str], tmp_path: Path) -> None:
    more = ["0", str(tmp_path / "out")] if command == ["export"] else []
    done = runner.invoke(app, [command[0], str(tmp_path), *more, *command[1:]])
    assert done.exit_code == 2
    assert str(tmp_path) in done.stderr
    assert list(tmp_path.iterdir()) == []


def main_with(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.path.join(os.getcwd(), "src")}
    command = [sys.executable, "-m", "unlearn_sweep.sweeps.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["validate", "missing.yaml"], "no such file"),
        (["plan", "small.yaml", "--trials", "1"], "at least 2"),
        (["plan", "small.yaml", "--storage", "small.yaml"], "is a file"),
        (["validate"], "Missing argument"),
        (["unheard-of"], "No such command"),
    ],
)
def test_mistakes_of_the_person_end_with_2_and_no_traceback(arguments: list[str], word: str, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(sweep_text())
    done = main_with(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr
