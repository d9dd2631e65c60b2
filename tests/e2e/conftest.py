"""A sweep small enough for a test and real in every part: the built-in benchmark with ten authors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RECIPE = (
    "{config: {hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4},"
    " epochs: 40, batch_size: 16, learning_rate: 5e-3}"
)
SWEEP = """
name: {name}
seed: 7
benchmark: {{name: authors, authors: 10, forget_authors: 3, facts_per_author: 4, trained_forms: 2, evaluated_forms: 1}}
model: {{train: {recipe}}}
gold: {{train: {recipe}}}
methods:
  graddiff: {{learning_rate: {{log: [1e-4, 3e-3]}}}}
  npo: {{learning_rate: {{log: [1e-4, 3e-3]}}, beta: {{log: [0.05, 1.0]}}}}
training: {{epochs: 3, global_batch_size: 8, {training}}}
evaluators: {{ue: [probability, extraction_strength], ut: [probability]}}
attacks:
  - quantize: {{bits: 4}}
  - relearn: {{steps: [4], learning_rate: 1e-3, batch_size: 8}}
search: {{sampler: tpe, trials: {trials}, allocation: equal, reproducible: true, max_concurrent: {at_once}}}
tracking: {{mlflow: {mlflow}}}
storage: {storage}
"""


@dataclass(frozen=True)
class SweepRun:
    """A sweep file and what its run left."""

    file: Path
    directory: Path
    storage: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "unlearn_sweep.sweeps.cli", *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command("run", str(self.file), "--plain", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        )

    def run(self, *arguments: str, timeout_s: float = 420) -> str:
        """Run to the end and return what was printed; fails the test on any other status than 0."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=timeout_s)
        assert process.returncode == 0, output
        return output

    def events(self) -> list[dict[str, Any]]:
        lines = (self.directory / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def trials(self) -> dict[int, dict[str, Any]]:
        records = [json.loads(path.read_text()) for path in (self.directory / "trials").glob("*.json")]
        return {record["number"]: record for record in records}

    def json(self, *arguments: str) -> Any:
        done = subprocess.run(self.command(*arguments, "--json"), capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One storage for all end-to-end tests: original and gold are trained once, as a user's would be."""
    return tmp_path_factory.mktemp("storage")


def write_sweep(storage: Path, name: str, *, trials: int, training: str, at_once: int, mlflow: str = "off") -> SweepRun:
    file = storage / f"{name}.yaml"
    text = SWEEP.format(
        name=name,
        recipe=RECIPE,
        trials=trials,
        training=training,
        at_once=at_once,
        mlflow=mlflow,
        storage=json.dumps(str(storage)),
    )
    file.write_text(text)
    return SweepRun(file=file, directory=storage / name, storage=storage)
