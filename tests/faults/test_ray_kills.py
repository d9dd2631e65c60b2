"""A real sweep over Ray whose driver, trial actors, workbenches and training workers are killed, also inside stages.

Oracle: the records of the same sweep undisturbed, and the event log for what was done how often.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import SweepRun, write_sweep
from tests.faults.comparing import differences, events, finished_stages, left_behind
from tests.faults.conftest import LOCAL, LOCAL_TRIALS, RUN_S, WORKER_TRIALS, copy_preparation, write_worker_sweep
from tests.faults.processes import TRAIN_WORKER, TRIAL, WORKBENCH, alive, below, kill, of_kind, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]


def _check(sweep: SweepRun, undisturbed: SweepRun, *, trials: int = LOCAL_TRIALS) -> None:
    assert differences(sweep.directory, undisturbed.directory) == []
    assert set(finished_stages(sweep.directory).values()) == {1}
    assert left_behind(sweep.directory, sweep.storage) == []
    settled = [event["trial"] for event in events(sweep.directory) if event["event"] == "trial_settled"]
    assert sorted(settled) == list(range(trials))


def test_a_driver_killed_over_and_over_loses_nothing_and_leaves_no_process(
    tmp_path: Path, undisturbed: SweepRun
) -> None:
    """From the first second on: while Ray starts, original and gold are trained, controls attacked, trials run."""
    sweep = write_sweep(tmp_path, "sweep", trials=LOCAL_TRIALS, training=LOCAL, at_once=2)
    kills, draw, family = 0, random.Random(2), []
    while kills < 8 and (started := _kill_behind(sweep, draw.choice([1, 2, 3, 4]), draw.uniform(0, 0.3))) is not None:
        family += started
        kills += 1
    assert wait_until(lambda: not alive(family), timeout_s=60, step_s=0.5), alive(family)
    sweep.run(timeout_s=RUN_S)
    assert kills >= 6
    _check(sweep, undisturbed)


def _kill_behind(sweep: SweepRun, stages: int, pause_s: float) -> list[psutil.Process] | None:
    """Start the driver and kill it once it has finished so many stages more; its processes, or None at its end."""
    process, before = sweep.start(), len(finished_stages(sweep.directory))
    wait_until(
        lambda: process.poll() is not None or len(finished_stages(sweep.directory)) >= before + stages, timeout_s=RUN_S
    )
    time.sleep(pause_s)
    family = below(process.pid)
    ended = process.poll() is not None
    kill(process.pid)
    process.communicate()
    return None if ended else family


def test_a_ray_that_loses_its_raylet_ends_and_settles_nothing(tmp_path: Path, undisturbed_workers: SweepRun) -> None:
    """The machine's own raylet, in the middle of the trials: the driver says so and ends; the same command goes on."""
    copy_preparation(undisturbed_workers, tmp_path)
    sweep = write_worker_sweep(tmp_path)  # its trials take longer than it takes to notice
    process = sweep.start()
    began = lambda: any(event["event"] == "trial_started" for event in events(sweep.directory))  # noqa: E731
    assert wait_until(lambda: process.poll() is not None or began(), RUN_S)
    family = below(process.pid)
    assert sum(kill(one.pid) for one in family if one.name() == "raylet") == 1
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert "rerun the same command to resume" in " ".join(output.split()), output
    assert "failed" not in {record["state"] for record in sweep.trials().values()}
    assert wait_until(lambda: not alive(family), timeout_s=120, step_s=0.5), alive(family)
    sweep.run(timeout_s=RUN_S)
    _check(sweep, undisturbed_workers, trials=WORKER_TRIALS)


def test_workbenches_and_trial_actors_killed_at_every_stage_are_replaced(tmp_path: Path, undisturbed: SweepRun) -> None:
    """One kill at the start of each stage of the trials, in turn of a workbench and of a trial's process."""
    sweep = write_sweep(tmp_path, "sweep", trials=LOCAL_TRIALS, training=LOCAL, at_once=2)
    process, seen, kills = sweep.start(), set(), {WORKBENCH: 0, TRIAL: 0}
    draw = random.Random(3)
    while process.poll() is None:
        for event in events(sweep.directory):
            place = (event.get("trial"), event.get("stage"))
            if event["event"] == "stage_started" and place not in seen:
                seen.add(place)
                time.sleep(draw.choice([0.0, 0.1]))
                kind = WORKBENCH if event.get("trial") is None or len(seen) % 2 else TRIAL
                running = of_kind(process.pid, kind)
                if running and (kind == TRIAL or kills[kind] < 12):
                    kills[kind] += kill(draw.choice(running))
        time.sleep(0.01)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert kills[WORKBENCH] >= 4, kills
    assert kills[TRIAL] >= 4, kills
    _check(sweep, undisturbed)
    told = [event for event in events(sweep.directory) if event["event"] in ("trial_lost", "note")]
    assert any((event["reason"] or "").startswith("its process: ") for event in told), told


def test_training_workers_killed_inside_a_training_are_replaced(tmp_path: Path, undisturbed_workers: SweepRun) -> None:
    """Real worker processes: one is killed in each training, once it has left a checkpoint to go on from."""
    sweep = write_worker_sweep(tmp_path)
    process, hit, partial = sweep.start(), set(), sweep.storage / "store" / "partial"
    while process.poll() is None:
        for folder in partial.glob("*") if partial.is_dir() else ():
            if folder.name not in hit and any(folder.glob("step-*")):
                workers = of_kind(process.pid, TRAIN_WORKER)
                if workers and kill(workers[0]):
                    hit.add(folder.name)
        time.sleep(0.02)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    lost = [event["stage_key"] for event in events(sweep.directory) if event["event"] == "stage_lost"]
    assert set(lost) <= hit
    assert len(lost) >= 2
    assert differences(sweep.directory, undisturbed_workers.directory) == []
    assert set(finished_stages(sweep.directory).values()) == {1}
