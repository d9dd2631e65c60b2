"""A second sweep over one storage trains only what its front lacks; a sweep over changed code is refused, or marked.

The commands run a copy of the source, which the tests edit. Oracles: the event log, the exit status, and the records.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import SweepRun, write_sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
REFUSED = 2


@dataclass(frozen=True)
class Copied:
    """A sweep that is run by a copy of the source."""

    sweep: SweepRun
    tree: Path

    def run(self, *arguments: str, timeout_s: float = 420) -> tuple[int, str]:
        environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(self.tree.parent)}
        command = [sys.executable, "-m", "unlearn_sweep.sweeps.cli", "run", str(self.sweep.file), "--plain", *arguments]
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=self.tree.parent,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.tree / file).read_text()
        assert old in text
        (self.tree / file).write_text(text.replace(old, new))

    def started(self) -> list[tuple[int | None, str]]:
        return [
            (event.get("trial"), event["stage"]) for event in self.sweep.events() if event["event"] == "stage_started"
        ]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source") / "unlearn_sweep"
    for folder in ("engine", "methods", "evaluators", "sweeps"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (ROOT / "src" / "unlearn_sweep").glob("*.py"):
        shutil.copyfile(path, root / path.name)
    return root


@pytest.fixture(scope="module")
def first(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Copied:
    storage = tmp_path_factory.mktemp("runs")
    made = Copied(write_sweep(storage, "first", trials=3, training="workers: 0", at_once=2), tree)
    status, said = made.run()
    assert status == 0, said
    return made


def test_a_second_sweep_trains_only_the_front_that_lost_its_weights(first: Copied, tree: Path) -> None:
    storage = first.sweep.storage
    second = Copied(write_sweep(storage, "second", trials=3, training="workers: 0", at_once=2), tree)
    for record in first.sweep.trials().values():
        shutil.rmtree(storage / "store" / "models" / record["stage_keys"]["unlearn"], ignore_errors=True)
    shutil.rmtree(first.sweep.directory)  # its records would keep a front of their own
    status, said = second.run()
    assert status == 0, said
    records = second.sweep.trials()
    front = {
        record["number"]
        for record in records.values()
        if record["key"] in second.sweep.json("report", str(second.sweep.directory))["front"]
    }
    assert front
    assert sorted(second.started()) == sorted((number, "unlearn") for number in front)
    out = storage / "exported"
    subprocess.run(second.sweep.command("export", str(second.sweep.directory), str(min(front)), str(out)), check=True)
    assert list(out.glob("*.safetensors"))


def test_changed_code_is_refused_then_accepted_and_marked(first: Copied, tree: Path) -> None:
    sweep = Copied(write_sweep(first.sweep.storage, "third", trials=2, training="workers: 0", at_once=2), tree)
    assert sweep.run()[0] == 0
    sweep.edit("engine/training/loop.py", '"""One optimizer step', '"""A single optimizer step')
    began = len(sweep.started())
    status, said = sweep.run("--trials", "3")
    assert status == 0, said
    assert {stage for trial, stage in sweep.started()[began:] if trial != 2} == set()  # nothing old is done again
    sweep.edit("methods/npo.py", "total=total", "total=10 * total")
    before = (sweep.sweep.directory / "events.jsonl").read_bytes()
    status, said = sweep.run("--trials", "4")
    assert status == REFUSED
    assert "methods.npo" in said
    assert (sweep.sweep.directory / "events.jsonl").read_bytes() == before
    status, said = sweep.run("--trials", "4", "--accept-new-code")
    assert status == 0, said
    records = sweep.sweep.trials()
    old, new = {records[number]["code"] for number in range(3)}, records[3]["code"]
    assert len(old) == 1
    assert new not in old
    assert sweep.sweep.json("report", str(sweep.sweep.directory))["code_versions"] == {old.pop(): 3, new: 1}
