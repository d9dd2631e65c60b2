"""Trainings that stop on their way, over real Ray with a training worker. Oracles: records, log and store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import SweepRun, write_sweep
from unlearn_sweep.engine.store.stages import StageStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRIALS = 6
METHODS = """methods:
  graddiff: {learning_rate: {log: [1e-4, 1e-2]}, epochs: 4, retain: nll}
"""
STOP = "stop_trainings: {learn_from: 1, sure: 0.5, finish_anyway: 0.3, rows: 6}"


@pytest.fixture(scope="module")
def stopping(storage: Path) -> SweepRun:
    sweep = write_sweep(storage, "stops", trials=TRIALS, training="workers: 1", at_once=1)
    text = sweep.file.read_text()
    begin, end = text.index("methods:"), text.index("training:")
    text = text[:begin] + METHODS + text[end:]
    text = "\n".join(line for line in text.splitlines() if "relearn" not in line) + "\n"
    text = text.replace("sampler: tpe", f"sampler: random, {STOP}").replace("reproducible: true", "reproducible: false")
    sweep.file.write_text(text)
    return sweep


def test_a_worker_ends_a_training_and_the_sweep_goes_on(stopping: SweepRun) -> None:
    printed = stopping.run(timeout_s=800)
    records = stopping.trials()
    assert sorted(records) == list(range(TRIALS))
    stopped = {number for number, record in records.items() if record["state"] == "stopped"}
    assert stopped
    assert any(record["state"] == "complete" for record in records.values())
    ended = {event["trial"]: event for event in stopping.events() if event["event"] == "stage_stopped"}
    assert set(ended) == stopped
    store = StageStore(stopping.storage)
    for number in stopped:
        record = records[number]
        assert record["training"]["steps"] < record["training"]["planned_steps"]
        assert record["stopping"] == {"share": record["training"]["probes"][-1]["share"], "ran_anyway": False}
        assert store.result(record["stage_keys"]["unlearn"]) is None
        assert not store.has_weights(record["stage_keys"]["unlearn"])
    report = stopping.json("report", str(stopping.directory))
    assert report["stopping"]["stopped"] == sorted(stopped)
    assert f"Stopping  {len(stopped)} of {report['stopping']['probed']} trainings stopped" in printed
    assert "nothing to do" in stopping.run()
    assert stopping.trials() == records
