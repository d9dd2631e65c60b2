"""A sweep with a method and a metric from plugin files, over real Ray: trained in one process, measured in another.

Oracles: the records, the rows that were measured, and the rule that an edited loss is another sweep.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.support.plugin_text import METHOD, METRIC

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RECIPE = (
    "{config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2},"
    " epochs: 10, batch_size: 16, learning_rate: 5e-3}"
)
SWEEP = f"""
name: with-plugins
benchmark: {{name: authors, authors: 6, forget_authors: 2, facts_per_author: 3, trained_forms: 2, evaluated_forms: 1}}
model: {{train: {RECIPE}}}
gold: {{train: {RECIPE}}}
plugins: [own/mine.py, own/length.py]
methods: {{hinge+sam: {{learning_rate: 1e-3, epochs: 1, margin: {{choice: [2.0]}}}}}}
training: {{global_batch_size: 8, backend: torch, workers: 1}}
evaluators: {{ue: [probability], ut: [probability, answer_length]}}
attacks: [{{quantize: {{bits: 4}}}}]
search: {{trials: 1}}
tracking: {{mlflow: "off"}}
storage: results
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "unlearn_sweep.sweeps.cli", *arguments],
        cwd=folder,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_plugins_are_trained_measured_attacked_and_reported(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text(METHOD)
    (tmp_path / "own" / "length.py").write_text(METRIC)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    done = run(tmp_path, "run", "sweep.yaml", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "results" / "with-plugins"
    (record,) = (json.loads(path.read_text()) for path in (directory / "trials").glob("*.json"))
    assert (record["state"], record["method"], record["params"]["margin"]) == ("complete", "hinge+sam", 2.0)
    assert [attack["attack"] for attack in record["attacks"]] == ["quantize-4bit"]
    tables = [pd.read_parquet(path) for path in (tmp_path / "results" / "store" / "stages").rglob("*.parquet")]
    assert len(tables) >= 3
    assert all((table["answer_length"] > 0).all() for table in tables)
    assert (directory / "report" / "index.html").is_file()
    assert sorted(path.name.partition("-")[0] for path in (directory / "plugins").iterdir()) == ["length", "mine"]
    (tmp_path / "own" / "mine.py").write_text(METHOD.replace("loss.sum()", "2 * loss.sum()"))
    changed = run(tmp_path, "run", "sweep.yaml", "--plain", "--trials", "2")
    assert changed.returncode == 2, changed.stdout + changed.stderr
    assert "plugin mine" in changed.stdout + changed.stderr
