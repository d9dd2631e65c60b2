"""The main job over real Ray, as a user starts it: both backends, a SIGKILL in the middle, every view of the result.

Oracles: the event log (what was done how often), an undisturbed run of the same file, and the records themselves.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SweepRun, write_sweep

pytestmark = pytest.mark.timeout(900)

TRIALS = 4


@pytest.fixture(scope="module")
def undisturbed(storage: Path) -> SweepRun:
    """Local mode (workers: 0), run once to its end."""
    sweep = write_sweep(storage, "whole", trials=TRIALS, training="workers: 0", at_once=2, mlflow="auto")
    sweep.run()
    return sweep


def test_every_stage_was_run_once_and_every_trial_settled(undisturbed: SweepRun) -> None:
    finished = Counter(event["stage_key"] for event in undisturbed.events() if event["event"] == "stage_finished")
    assert set(finished.values()) == {1}
    records = undisturbed.trials()
    assert sorted(records) == list(range(TRIALS))
    assert {record["state"] for record in records.values()} <= {"complete", "collapsed"}
    assert Counter(record["method"] for record in records.values()) == {"graddiff": 2, "npo": 2}


def test_the_controls_are_at_their_anchors(undisturbed: SweepRun) -> None:
    controls = undisturbed.json("report", str(undisturbed.directory))["controls"]
    assert (controls["original"]["ue"], controls["original"]["ut"]) == (0.0, 1.0)
    assert controls["gold"]["ue"] >= 0.95


def test_the_report_json_has_what_programs_read(undisturbed: SweepRun) -> None:
    report = undisturbed.json("report", str(undisturbed.directory))
    wanted = {"key", "number", "method", "params", "seed", "state", "ue", "ut", "rob", "rob_is_bound", "attacks"}
    wanted |= {"stage_seconds"}
    assert wanted <= set(report["trials"][0])
    assert {"front", "hypervolume", "hypervolume_curve", "controls"} <= set(report)
    assert set(report["front"]) <= {trial["key"] for trial in report["trials"]}
    volumes = [volume for _, volume in report["hypervolume_curve"]]
    assert volumes == sorted(volumes)
    assert (undisturbed.directory / "report" / "index.html").stat().st_size > 100_000


def test_mlflow_has_a_parent_and_a_child_for_each_trial(undisturbed: SweepRun) -> None:
    with sqlite3.connect(undisturbed.storage / "mlflow.db") as database:
        of_kind = "select value from tags where key = 'mlflow.parentRunId' and run_uuid in ({})".format(
            "select run_uuid from tags where key = 'kind' and value = ?"
        )
        parents = database.execute(of_kind, ("trial",)).fetchall()
        trials = database.execute(of_kind, ("stage",)).fetchall()
        metrics = {name for (name,) in database.execute("select distinct key from latest_metrics")}
    assert len(parents) == TRIALS
    assert len(set(parents)) == 1
    assert len(set(trials)) == TRIALS
    assert len(trials) == sum(len(record["stage_keys"]) for record in undisturbed.trials().values())
    assert {"ue", "ut", "rob"} <= metrics


def test_a_finished_sweep_is_left_alone_and_can_be_extended(undisturbed: SweepRun) -> None:
    before = undisturbed.trials()
    assert "nothing to do" in undisturbed.run()
    undisturbed.run("--trials", str(TRIALS + 1))
    after = undisturbed.trials()
    assert sorted(after) == list(range(TRIALS + 1))
    assert {number: after[number] for number in before} == before


def test_a_killed_driver_loses_nothing_and_repeats_nothing(storage: Path, undisturbed: SweepRun) -> None:
    """SIGKILL in the middle of the second trial's stages; the same command then gives the same trials as no kill."""
    sweep = write_sweep(storage, "killed", trials=TRIALS, training="workers: 0, weight_decay: 0.02", at_once=2)
    process = sweep.start()
    _wait_for(sweep, lambda events: sum(event["event"] == "stage_finished" for event in events) >= 5, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    settled = sweep.trials()
    assert len(settled) < TRIALS
    sweep.run()
    finished = Counter(event["stage_key"] for event in sweep.events() if event["event"] == "stage_finished")
    assert set(finished.values()) == {1}
    records = sweep.trials()
    assert {number: records[number] for number in settled} == settled
    twins = undisturbed.trials()
    for number in range(TRIALS):
        mine, twin = records[number], twins[number]
        assert (mine["method"], mine["params"]) == (twin["method"], twin["params"])
    assert sum(event["event"] == "trial_settled" for event in sweep.events()) == TRIALS


def test_deepspeed_workers_give_the_same_kind_of_sweep(storage: Path, undisturbed: SweepRun) -> None:
    """TorchTrainer with two gloo workers and ZeRO-2; original and gold come from the store."""
    training = "backend: deepspeed, zero_stage: 2, workers: 2, resources_per_worker: {CPU: 1}"
    sweep = write_sweep(storage, "deepspeed", trials=2, training=training, at_once=1)
    sweep.run()
    prepared = [event for event in sweep.events() if (event.get("stage") or "").startswith("prepare")]
    assert {event["stage"] for event in prepared} == {"prepare:original", "prepare:gold"}
    assert {event["event"] for event in prepared} == {"stage_reused"}
    records = sweep.trials()
    assert {record["state"] for record in records.values()} <= {"complete", "collapsed"}
    assert {record["training"]["world_size"] for record in records.values()} == {2}
    assert {record["training"]["backend"] for record in records.values()} == {"deepspeed ZeRO-2"}
    # The same first configuration was trained in one process before; ranks and backend change nothing but rounding.
    same = undisturbed.trials()[0]
    assert records[0]["params"] == same["params"]
    assert records[0]["ue"] == pytest.approx(same["ue"], abs=1e-3)


def _wait_for(sweep: SweepRun, enough: Any, process: Any, timeout_s: float = 300) -> None:
    """Wait until trials have come far enough in the event log."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (sweep.directory / "events.jsonl").exists():
            own = [event for event in sweep.events() if event.get("trial") is not None]
            if enough(own):
                return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    pytest.fail("the sweep did not come that far in time")
