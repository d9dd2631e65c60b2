"""A process that copies to a mirror, or from it, killed in the middle. Oracle: the files of the sweep it copied."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.processes import wait_until
from tests.faults.recorded_sweep import job_of, run
from tests.support.mirrors import finished_sweep, open_mirror, pulled, push, tree
from unlearn_sweep.engine.mirror.pull import fetch_model, pull
from unlearn_sweep.engine.store.stages import StageStore

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

PUSH = "import sys, pathlib\nfrom tests.support.mirrors import push\nfrom tests.faults.recorded_sweep import job_of\n"
PUSH += "push(job_of(pathlib.Path(sys.argv[1])), sys.argv[2])"
PULL = "import sys, pathlib\nfrom tests.support.mirrors import pulled\npulled(pathlib.Path(sys.argv[1]), sys.argv[2])"
MODEL_BYTES = 40_000_000
"""Large enough that a kill finds one half copied."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("made")
    finished_sweep(storage, model_bytes=MODEL_BYTES)
    return storage


def kill_at(code: str, storage: Path, uri: str, folder: Path, files: int) -> None:
    """Run `code`, and SIGKILL it as soon as `folder` has so many files, scratch files counted."""
    process = subprocess.Popen([sys.executable, "-c", code, str(storage), uri])

    def far_enough() -> bool:
        return process.poll() is not None or sum(len(names) for _, _, names in os.walk(folder)) >= files

    assert wait_until(far_enough, 60.0, 0.0005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was to be killed before its end"


@pytest.mark.parametrize("files", [3, 20, 45, 60, 62])
def test_a_killed_push_leaves_nothing_half_and_is_completed(made: Path, tmp_path: Path, files: int) -> None:
    uri, copy = f"file://{tmp_path}/copy", tmp_path / "copy"
    kill_at(PUSH, made, uri, copy, files)
    there, _ = pulled(tmp_path / "other", uri)
    whole = tree(made)
    fetched = {name: data for name, data in tree(there.storage).items() if "/stages/" in name or "/models/" in name}
    assert fetched == {name: whole[name] for name in fetched}
    store = StageStore(there.storage)
    for record in (there.directory / "trials").glob("*.json"):
        fetch_model(open_mirror(uri), store, json.loads(record.read_bytes())["stage_keys"]["unlearn"])
    models = {name: data for name, data in tree(store.root / "models").items()}
    assert models == {name: whole[f"store/models/{name}"] for name in models}
    run(str(there.storage))  # and that storage goes on to the end
    assert len(list((there.directory / "trials").glob("*.json"))) == 3
    push(job_of(made), uri)
    last, _ = pulled(tmp_path / "third", uri)
    assert tree(last.directory / "trials") == tree(made / "sweep/trials")
    assert tree(last.storage / "store/stages") == tree(made / "store/stages")
    assert [path for path in copy.rglob("*.part")] == []


@pytest.mark.parametrize("files", [4, 12, 40])
def test_a_killed_pull_leaves_nothing_half_and_is_completed(made: Path, tmp_path: Path, files: int) -> None:
    uri, other = f"file://{tmp_path}/copy", tmp_path / "other"
    push(job_of(made), uri)
    kill_at(PULL, other, uri, other, files)
    there, whole = job_of(other), tree(made)
    begun = {name: data for name, data in tree(other).items() if not any(part[0] == "." for part in name.split("/"))}
    begun = {name: data for name, data in begun.items() if "/locks/" not in name}
    assert begun == {name: whole[name] for name in begun}
    StageStore(other).clear_remains()
    pull(open_mirror(uri), there, lambda _: None)
    assert tree(other / "store/stages") == tree(made / "store/stages")
    assert tree(other / "sweep/trials") == tree(made / "sweep/trials")
    assert [path for path in other.rglob(".*") if path.is_dir()] == []
