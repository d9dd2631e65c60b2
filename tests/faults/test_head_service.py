"""A sweep whose Ray loses its head service (the GCS), which nobody starts again.

Oracles: the words and the status of the driver, the processes that are left of its Ray, and the records of the same
sweep undisturbed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import SweepRun, write_sweep
from tests.faults.clusters import LocalCluster
from tests.faults.comparing import differences, events, finished_stages, left_behind
from tests.faults.conftest import LOCAL, LOCAL_TRIALS, RUN_S, copy_preparation, write_worker_sweep
from tests.faults.processes import TRAIN_WORKER, alive, below, kill, of_kind, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]

HEAD = "gcs_server"
ENDS_S = 40
GONE_S = 5
ADVICE = "finished work is kept: rerun the same command to resume"


def _wait_for(process: subprocess.Popen[str], holds: Callable[[], object]) -> None:
    assert wait_until(lambda: process.poll() is not None or bool(holds()), RUN_S)
    assert process.poll() is None, process.communicate()[0]


def _lose_head(process: subprocess.Popen[str], head: int) -> str:
    """Kill the head service, and look at how the driver ends; what it printed."""
    assert kill(head)
    killed = time.monotonic()
    output, _ = process.communicate(timeout=300)
    seconds = time.monotonic() - killed
    assert seconds < ENDS_S, output
    assert process.returncode == 1, output
    assert ADVICE in " ".join(output.split()).lower(), output
    assert "Traceback" not in output
    assert "StackTrace" not in output  # Ray's own, where its core ends the process
    return output


def _lose_own_head(process: subprocess.Popen[str]) -> None:
    """The driver's private one. Nothing of that Ray is left."""
    family = below(process.pid)
    (head,) = (one.pid for one in family if one.name() == HEAD)
    assert "Ray's head service on this machine" in _lose_head(process, head)
    assert wait_until(lambda: not alive(family), GONE_S), alive(family)


def _check(sweep: SweepRun, undisturbed: SweepRun) -> None:
    """The same command completes the sweep, as if nothing had been."""
    sweep.run(timeout_s=RUN_S)
    assert differences(sweep.directory, undisturbed.directory) == []
    assert set(finished_stages(sweep.directory).values()) == {1}
    assert left_behind(sweep.directory, sweep.storage) == []


def test_a_head_lost_in_a_trial_ends_the_driver_with_advice(tmp_path: Path, undisturbed: SweepRun) -> None:
    copy_preparation(undisturbed, tmp_path)
    sweep = write_sweep(tmp_path, "sweep", trials=LOCAL_TRIALS, training=LOCAL, at_once=2)
    process = sweep.start()
    _wait_for(process, lambda: _stage_runs(sweep, "unlearn"))
    _lose_own_head(process)
    assert "failed" not in {record["state"] for record in sweep.trials().values()}
    _check(sweep, undisturbed)


def test_a_head_lost_in_the_preparation_ends_the_driver_with_advice(tmp_path: Path, undisturbed: SweepRun) -> None:
    """Its threads wait for Ray, and the main thread for them."""
    sweep = write_sweep(tmp_path, "sweep", trials=LOCAL_TRIALS, training=LOCAL, at_once=2)
    process = sweep.start()
    _wait_for(process, lambda: _stage_runs(sweep, ""))
    _lose_own_head(process)
    assert not sweep.trials()
    _check(sweep, undisturbed)


def test_a_head_lost_under_training_workers_ends_the_driver_with_advice(
    tmp_path: Path, undisturbed_workers: SweepRun
) -> None:
    copy_preparation(undisturbed_workers, tmp_path)
    sweep = write_worker_sweep(tmp_path)
    process = sweep.start()
    _wait_for(process, lambda: of_kind(process.pid, TRAIN_WORKER))
    _lose_own_head(process)
    _check(sweep, undisturbed_workers)


def test_a_lost_head_of_a_joined_cluster_is_to_be_looked_at_first(tmp_path: Path, undisturbed: SweepRun) -> None:
    copy_preparation(undisturbed, tmp_path)
    sweep = write_sweep(tmp_path, "sweep", trials=LOCAL_TRIALS, training=LOCAL, at_once=2)
    cluster = LocalCluster(head_cpus=2)
    try:
        process = sweep.start("--address", cluster.address)
        _wait_for(process, lambda: _stage_runs(sweep, "unlearn"))
        (head,) = (one.pid for one in cluster.head.processes() if one.name() == HEAD)
        assert "Make sure that it is up before the next run" in " ".join(_lose_head(process, head).split())
    finally:
        cluster.close()
    _check(sweep, undisturbed)


def test_a_head_that_only_stands_still_is_waited_for(tmp_path: Path, undisturbed: SweepRun) -> None:
    copy_preparation(undisturbed, tmp_path)
    sweep = write_sweep(tmp_path, "sweep", trials=LOCAL_TRIALS, training=LOCAL, at_once=2)
    process = sweep.start()
    _wait_for(process, lambda: _stage_runs(sweep, "unlearn"))
    (head,) = (one for one in below(process.pid) if one.name() == HEAD)
    os.kill(head.pid, signal.SIGSTOP)
    time.sleep(15)
    assert process.poll() is None
    os.kill(head.pid, signal.SIGCONT)
    output, _ = process.communicate(timeout=RUN_S)
    assert process.returncode == 0, output
    _check(sweep, undisturbed)


def _stage_runs(sweep: SweepRun, stage: str) -> bool:
    """Whether a stage whose name begins so has been started and not ended."""
    log = events(sweep.directory)
    ended = {event["stage_key"] for event in log if event["event"] in ("stage_finished", "stage_failed")}
    begun = [event for event in log if event["event"] == "stage_started" and event["stage"].startswith(stage)]
    return bool({event["stage_key"] for event in begun} - ended)
