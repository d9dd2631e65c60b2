"""A machine that is short of memory for two stages at once: Ray's own monitor ends processes, for real.

The limit is put a little above what the machine has in use now; each stage needs more than half of what is left.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import write_sweep
from tests.faults.clusters import LocalCluster
from tests.support.outcomes import measured
from unlearn_sweep.engine.on_ray.cluster import cluster
from unlearn_sweep.engine.on_ray.pool import Pool, RayExecutor, WorkbenchActor
from unlearn_sweep.engine.resources.memory_shortage import ExclusiveStageLock
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import MeasureOutcome
from unlearn_sweep.engine.store.stages import StageRequest, StageStore
from unlearn_sweep.engine.training.settings import Workers

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
GIB = 2**30
LEFT_GIB = 8.0  # two workbenches take .8 of it when they are warm; what is over is for whatever else the machine does
STAGE_GIB = 5


class Hungry(WorkbenchActor):
    """Measures nothing, and takes its memory for a while."""

    def measure(self, request: dict[str, Any]) -> dict[str, Any]:
        blocks = []
        for _ in range(4 * STAGE_GIB):  # little by little, so that the monitor sees it come
            blocks.append(bytearray(GIB // 4))
            time.sleep(0.1)
        time.sleep(3)
        return measured(sum(len(block) for block in blocks)).model_dump(mode="json")


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()
    if memory.available < 12 * GIB:
        pytest.skip("needs 12 GiB of free memory")
    limit = (memory.total - memory.available + LEFT_GIB * GIB) / memory.total
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{limit:.4f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")


@pytest.mark.usefixtures("short_of_memory")
def test_stages_that_a_machine_has_not_the_memory_for_at_once_run_one_by_one(tmp_path: Path) -> None:
    done: dict[int, MeasureOutcome] = {}

    def work(trial: int, executor: RayExecutor) -> None:
        stage_lock = ExclusiveStageLock(tmp_path, executor.make_room)
        runner = StageRunner(
            StageStore(tmp_path), EventLog(tmp_path / "events.jsonl"), trial=trial, stage_lock=stage_lock
        )
        asked = MeasureRequest(model_path="", benchmark={}, metrics=[], rows_path="")
        stage = StageRequest(stage="evaluate", inputs={"trial": trial}, outcome=MeasureOutcome)
        done[trial] = runner.run(stage, lambda _: executor.measure(asked)).outcome(MeasureOutcome)

    with cluster(address=None, environment={}):
        pool = Pool(2, resources={}, kind=Hungry)
        executors = [RayExecutor(name, workers=Workers(), storage=tmp_path) for name in pool.names]
        threads = [threading.Thread(target=work, args=item) for item in enumerate(executors)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [done[trial].rows for trial in (0, 1)] == [STAGE_GIB * GIB] * 2
    events = list(EventLog(tmp_path / "events.jsonl").read())
    lost = [event for event in events if event.event == "stage_lost"]
    assert lost
    for event in lost:
        assert "running low on memory" in (event.reason or "")
        assert (event.reason or "").endswith("it will be retried alone")
    assert [event.event for event in events if event.event == "stage_failed"] == []


def test_a_machine_with_memory_for_one_trial_runs_one_at_a_time(tmp_path: Path) -> None:
    """Two CPUs, and the sweep asks for two trials at once; a trial takes some 1.1 GiB, the machine has 1.8."""
    machine = LocalCluster(head_cpus=2, head_memory_mib=1800)
    try:
        sweep = write_sweep(tmp_path, "sweep", trials=3, training="workers: 0", at_once=2)
        sweep.run("--address", machine.address)
    finally:
        machine.close()
    (note,) = [
        event["reason"]
        for event in sweep.events()
        if event["event"] == "note" and "was measured to take" in event["reason"]
    ]
    assert note.startswith("1 at once and not 2: a trial takes ")
    running = 0
    for event in sweep.events():
        running += {"trial_started": 1, "trial_settled": -1}.get(event["event"], 0)
        assert running <= 1
    assert {record["state"] for record in sweep.trials().values()} == {"complete"}
