"""Training workers and workbench share the accelerators of a trial. Oracle: a cluster that has them only once.

Ray counts what it is told, so the accelerators are names: a custom one for training workers, for which Ray sets up
gloo, and Ray's own GPU for trials that train in their workbench.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import SweepRun, write_sweep
from tests.faults.clusters import LocalCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One machine with two CPUs, two GPUs and one accelerator of another kind."""
    cluster = LocalCluster()
    try:
        cluster.add_node(cpus=2, gpus=2, resources={"accelerator": 1})
        cluster.wait_for_nodes(2)
        yield cluster
    finally:
        cluster.close()


def concurrent(sweep: SweepRun) -> int:
    return next(event["data"] for event in sweep.events() if event.get("reason") == "Ray is up")["concurrent_trials"]


def test_a_worker_trains_on_the_accelerator_that_its_workbench_gives_up(storage: Path, cluster: LocalCluster) -> None:
    training = "workers: 1, resources_per_worker: {CPU: 1, accelerator: 1}"
    sweep = write_sweep(storage, "shared", trials=2, training=training, at_once=2)
    sweep.file.write_text(sweep.file.read_text() + "evaluation: {resources: {CPU: 1, accelerator: 1}}\n")
    sweep.run("--address", cluster.address)
    assert concurrent(sweep) == 1
    records = sweep.trials()
    assert {record["state"] for record in records.values()} == {"complete"}
    assert {record["attempts"] for record in records.values()} == {1}
    assert {record["training"]["world_size"] for record in records.values()} == {1}


def test_auto_gives_each_trial_a_gpu(storage: Path, cluster: LocalCluster) -> None:
    sweep = write_sweep(storage, "auto", trials=2, training="workers: 0", at_once=2)
    sweep.run("--address", cluster.address)
    assert concurrent(sweep) == 2
    assert {record["state"] for record in sweep.trials().values()} == {"complete"}
