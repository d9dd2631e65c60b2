"""A sweep started in a folder that holds packages of our names and of libraries' names, all of which raise if imported.

Oracle: the sweep ends, its trial is complete, and the folder's files were never run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.packaging.built import PACKAGES, ROOT, environment_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RECIPE = (
    "{config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2},"
    " epochs: 10, batch_size: 16, learning_rate: 5e-3}"
)
SWEEP = f"""
name: foreign
benchmark: {{name: authors, authors: 6, forget_authors: 2, facts_per_author: 3, trained_forms: 2, evaluated_forms: 1}}
model: {{train: {RECIPE}}}
gold: {{train: {RECIPE}}}
methods: {{npo: {{learning_rate: 1e-3, epochs: 1}}}}
training: {{global_batch_size: 8, backend: torch, workers: 1}}
evaluators: {{ue: [probability], ut: [probability]}}
attacks: [{{quantize: {{bits: 4}}}}]
search: {{trials: 1}}
tracking: {{mlflow: "off"}}
storage: results
"""
LIBRARIES = ("datasets", "torch", "platform", "utils", "optuna")
"""Names of libraries that a user may have given to a file of their own."""


def foreign_folder(folder: Path) -> Path:
    """The user's repository: our four names as packages with modules of ours in them, and files named as libraries."""
    raising = f"open({str(folder / 'imported')!r}, 'a').write(__name__ + '\\n')\nraise RuntimeError(__name__)\n"
    for package in PACKAGES:
        (folder / package).mkdir(parents=True)
        for module in ("__init__", "npo", "catalog", "job", "evaluate", "cli"):
            (folder / package / f"{module}.py").write_text(raising)
    for name in LIBRARIES:
        (folder / f"{name}.py").write_text(raising)
    (folder / "sweep.yaml").write_text(SWEEP)
    return folder


def sweep_in(folder: Path, command: Path, environment: Mapping[str, str]) -> None:
    foreign_folder(folder)
    done = subprocess.run(
        [sys.executable, str(command), "run", "sweep.yaml", "--plain"],
        cwd=folder,
        env={**environment, "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / "imported").exists(), (folder / "imported").read_text()
    (record,) = (folder / "results" / "foreign" / "trials").glob("*.json")
    assert json.loads(record.read_text())["state"] == "complete"


def test_an_editable_installation_runs_its_own_code(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "unlearn-sweep"
    sweep_in(tmp_path / "theirs", command, {**os.environ, "PYTHONPATH": str(ROOT / "src")})


def test_a_wheel_runs_its_own_code(installation: Path, tmp_path: Path) -> None:
    sweep_in(tmp_path / "theirs", installation / "bin" / "unlearn-sweep", environment_of(installation))
