"""Undisturbed sweeps that killed ones are compared with: run once, when the first test asks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import SweepRun, write_sweep

LOCAL, LOCAL_TRIALS = "workers: 0", 4
ONE_WORKER, WORKER_TRIALS = "workers: 1", 2
RUN_S = 1500


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SweepRun:
    """Trains inside the trials' workbenches, two at once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    sweep = write_sweep(folder, "sweep", trials=LOCAL_TRIALS, training=LOCAL, at_once=2)
    sweep.run(timeout_s=RUN_S)
    return sweep


@pytest.fixture(scope="session")
def undisturbed_workers(tmp_path_factory: pytest.TempPathFactory) -> SweepRun:
    """Trains in a worker process of Ray Train's, one trial at a time."""
    sweep = write_worker_sweep(tmp_path_factory.mktemp("undisturbed_workers"))
    sweep.run(timeout_s=RUN_S)
    records = [json.loads(path.read_bytes()) for path in (sweep.directory / "trials").glob("*.json")]
    # A trial that collapses is neither measured nor attacked, and no kill could land there.
    assert [record["state"] for record in records] == ["complete"] * WORKER_TRIALS
    return sweep


def write_worker_sweep(folder: Path) -> SweepRun:
    """With trainings and attacks of some seconds, so that a kill lands inside them, and a checkpoint twice a second.

    Long trainings want small steps, or the model is soon none any more.
    """
    training = f"{ONE_WORKER}, checkpoint_every_s: 0.5"
    sweep = write_sweep(folder, "sweep", trials=WORKER_TRIALS, training=training, at_once=1)
    text = sweep.file.read_text().replace("training: {epochs: 3,", "training: {epochs: 100,")
    text = text.replace("learning_rate: {log: [1e-4, 3e-3]}", "learning_rate: {log: [1e-5, 4e-5]}")
    sweep.file.write_text(text.replace("steps: [4]", "steps: [100]"))
    return sweep


def copy_preparation(done: SweepRun, storage: Path) -> None:
    """The store of a sweep as it was before its first trial: original, gold and everything measured on them."""
    records = [json.loads(path.read_bytes()) for path in (done.directory / "trials").glob("*.json")]
    of_trials = {key for record in records for key in record["stage_keys"].values()}
    shutil.copytree(done.storage / "store", storage / "store", ignore=lambda _, names: of_trials & set(names))
