"""A sweep on a Ray cluster of several raylets, whose machines are killed under it. Joined with `--address`.

Oracles: the records of the same sweep on this machine's own Ray, undisturbed; the event log for what was lost; and
Ray's State API for what is left on the cluster.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SweepRun
from tests.faults.clusters import LocalCluster, Node
from tests.faults.comparing import differences, events, finished_stages, left_behind
from tests.faults.conftest import RUN_S, copy_preparation, write_worker_sweep
from tests.faults.processes import TRAIN_WORKER, WORKBENCH, kill, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]

# Workbenches go where this resource is: to the worker nodes, which can be killed.
MEASURING = "evaluation: {resources: {CPU: 1, measuring: 1}}\n"
# Ray Train's, one of each on a cluster from the first training on; they hold nothing.
RAYS_OWN = {"TrainStateActor", "_AutoscalingCoordinatorActor"}
# Ray Train's, too: it gives back the places of a killed driver's workers, and then fails to end itself in Ray 2.60.
CLEANER = "PlacementGroupCleaner"
NODE: dict[str, Any] = {"cpus": 2, "resources": {"measuring": 2}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    cluster = LocalCluster()
    try:
        for _ in range(2):
            cluster.add_node(**NODE)
        cluster.wait_for_nodes(3)
        yield cluster
    finally:
        cluster.close()


def _sweep(folder: Path, undisturbed: SweepRun) -> SweepRun:
    """The same sweep, from its first trial on: what is killed here are trials."""
    copy_preparation(undisturbed, folder)
    sweep = write_worker_sweep(folder)
    sweep.file.write_text(sweep.file.read_text() + MEASURING)
    return sweep


def _check(sweep: SweepRun, undisturbed_workers: SweepRun) -> None:
    assert differences(sweep.directory, undisturbed_workers.directory) == []
    assert set(finished_stages(sweep.directory).values()) == {1}
    assert left_behind(sweep.directory, sweep.storage) == []


def _is_empty(cluster: LocalCluster, *, cleaners: int = 0) -> bool:
    """Nothing of the sweep is left: no placement group, no actor but `cleaners` at most (see docs/cluster.md)."""
    actors = cluster.actors()
    held = actors.count(CLEANER) <= cleaners and set(actors) <= RAYS_OWN | {CLEANER}
    return held and cluster.placement_groups() == []


def _began(sweep: SweepRun, trial: int, stage: str) -> bool:
    return any(
        event["event"] == "stage_started" and event.get("trial") == trial and event["stage"].startswith(stage)
        for event in events(sweep.directory)
    )


def _wait_for(process: subprocess.Popen[str], holds: Callable[[], object]) -> None:
    assert wait_until(lambda: process.poll() is not None or bool(holds()), timeout_s=RUN_S, step_s=0.005)
    assert process.poll() is None, process.communicate()[0]


def test_machines_lost_in_training_evaluation_and_attack_change_nothing(
    tmp_path: Path, cluster: LocalCluster, undisturbed_workers: SweepRun
) -> None:
    """A machine each: under trial 0's training and its evaluation, and under trial 1's attack.

    Another one joins for each that is lost, as it would on a cluster of machines that can be taken away.
    """
    sweep = _sweep(tmp_path, undisturbed_workers)
    process = sweep.start("--address", cluster.address)
    for held in (_in_training, _in_evaluation, _in_attack):
        cluster.kill_node(held(process, sweep, cluster))
        threading.Thread(target=cluster.add_node, kwargs=NODE).start()
    output, _ = process.communicate(timeout=RUN_S)
    assert process.returncode == 0, output
    _check(sweep, undisturbed_workers)
    lost = [event for event in events(sweep.directory) if event["event"] in ("stage_lost", "trial_lost")]
    assert len(lost) >= 3
    assert sweep.json("status", str(sweep.directory))["processes_lost"] == len(lost)
    # Each kill cost what it was meant for: its stage, or with the trial's own process the trial.
    cost = {(event["trial"], (event.get("stage") or "trial").partition(":")[0]) for event in lost}
    for trial, stage in ((0, "unlearn"), (0, "evaluate"), (1, "attack")):
        assert cost & {(trial, stage), (trial, "trial")}, lost
    assert wait_until(lambda: _is_empty(cluster, cleaners=1), 180, 1), (cluster.actors(), cluster.placement_groups())


def _in_training(process: subprocess.Popen[str], sweep: SweepRun, cluster: LocalCluster) -> Node:
    """The machine that trains trial 0, once there is a checkpoint to go on from."""
    _wait_for(process, lambda: any((sweep.storage / "store" / "partial").glob("*/step-*")))
    return _there(cluster, TRAIN_WORKER)


def _in_evaluation(process: subprocess.Popen[str], sweep: SweepRun, cluster: LocalCluster) -> Node:
    """The machine that measures trial 0. Its process is held still before, so that the short stage cannot end."""
    node = _there(cluster, WORKBENCH)
    for pid in cluster.processes_of(node, WORKBENCH):
        os.kill(pid, signal.SIGSTOP)
    _wait_for(process, lambda: _began(sweep, 0, "evaluate"))
    return node


def _in_attack(process: subprocess.Popen[str], sweep: SweepRun, cluster: LocalCluster) -> Node:
    """The machine that attacks trial 1; relearning takes seconds."""
    _wait_for(process, lambda: _began(sweep, 1, "unlearn"))
    node = _there(cluster, WORKBENCH)
    _wait_for(process, lambda: _began(sweep, 1, "attack:relearn"))
    return node


def _there(cluster: LocalCluster, title: str) -> Node:
    assert wait_until(lambda: cluster.node_of(title) is not None, RUN_S, 0.05)
    node = cluster.node_of(title)
    assert node is not None
    return node


def test_a_driver_killed_in_a_training_leaves_nothing_on_the_cluster(
    tmp_path: Path, cluster: LocalCluster, undisturbed_workers: SweepRun
) -> None:
    """Training workers of a driver that is gone would hold their CPUs for ever: the next run would wait for them."""
    sweep = _sweep(tmp_path, undisturbed_workers)
    process = sweep.start("--address", cluster.address)
    _wait_for(process, lambda: any((sweep.storage / "store" / "partial").glob("*/step-*")))
    kill(process.pid)
    process.communicate()
    assert wait_until(lambda: _is_empty(cluster, cleaners=1), 180, 1), (cluster.actors(), cluster.placement_groups())
    sweep.run("--address", cluster.address, timeout_s=RUN_S)
    _check(sweep, undisturbed_workers)
    assert wait_until(lambda: _is_empty(cluster, cleaners=1), 180, 1), (cluster.actors(), cluster.placement_groups())


def test_a_job_submitted_to_the_cluster_joins_it(
    tmp_path: Path, cluster: LocalCluster, undisturbed_workers: SweepRun
) -> None:
    """By Ray's job server, whose jobs find the cluster's address in their environment."""
    sweep = _sweep(tmp_path, undisturbed_workers)
    submit = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", cluster.jobs_url, "--"]
    run = sweep.command("run", str(sweep.file), "--plain")
    environment = os.environ | cluster.environment
    done = subprocess.run([*submit, *run], capture_output=True, text=True, env=environment, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    _check(sweep, undisturbed_workers)
    hosts = next(event["data"]["resources"] for event in events(sweep.directory) if event["event"] == "note")
    assert hosts["measuring"] >= 2  # which this machine's own Ray does not have


def test_a_cluster_with_a_token_lets_nobody_in_without_it() -> None:
    token = secrets.token_hex(16)
    cluster = LocalCluster(environment={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token})
    look = f"import ray; ray.init(address={cluster.address!r}); print('inside:', len(ray.nodes()))"
    try:
        for given, inside in ((token, True), (secrets.token_hex(16), False)):
            environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": given}
            command = [sys.executable, "-c", look]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=RUN_S, check=False)
            assert ("inside: 1" in done.stdout) == inside, done.stdout + done.stderr
            assert token not in done.stderr
    finally:
        cluster.close()
