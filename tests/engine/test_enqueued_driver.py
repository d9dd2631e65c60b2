"""The driver takes enqueued settings from its folder. Real driver, study and stages over recorded numbers."""

from __future__ import annotations

from pathlib import Path

from tests.faults.recorded_sweep import ATTACKS, SPACE, TRIALS
from tests.support.recorded_attacks import RecordedExecutor, prepare, recorded_job
from unlearn_sweep.engine.driver.sweep import Driver
from unlearn_sweep.engine.search_settings import Configuration, SearchPlan
from unlearn_sweep.engine.stages.attack_order import base_costs
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.enqueued import FOLDER, enqueue, waiting_files


def test_a_dropped_setting_is_tried_next_and_a_bad_file_is_set_aside(tmp_path: Path) -> None:
    job = recorded_job(tmp_path, "sweep", ATTACKS, prune=False)
    job = job.model_copy(update={"search": job.search.model_copy(update={"trials": len(TRIALS)})})
    driver = Driver(job)
    driver.open()
    prepared, executor = prepare(job), RecordedExecutor(TRIALS)
    driver.attack_costs = base_costs(ATTACKS, prepared, driver.store, timed=False)
    plan = SearchPlan(sampler="tpe", allocation="equal", trials=len(TRIALS), seed=1)
    driver.broker = StudyBroker(job.directory / "study.journal", [SPACE], plan, identity={})
    first = driver.next_task()
    assert first is not None
    driver.settle(first, run_trial(first, job, prepared, executor))
    untried = next(rate for rate in (0.001, 0.002, 0.003) if rate != first.params["learning_rate"])
    enqueue(job.directory, Configuration(method="graddiff", params={"learning_rate": 0.5}))
    enqueue(job.directory, Configuration(method="graddiff", params={"learning_rate": untried}))
    second = driver.next_task()
    assert second is not None
    assert second.params["learning_rate"] == untried
    assert waiting_files(job.directory) == []
    assert [path.suffix for path in (job.directory / FOLDER).iterdir()] == [".refused"]
    notes = [event.reason or "" for event in driver.events.read() if event.event == "note"]
    assert any("is refused: learning_rate = 0.5 is outside" in note for note in notes)
    assert f"enqueued setting is tried next: graddiff learning_rate={untried}" in notes
    driver.settle(second, run_trial(second, job, prepared, executor))
    third = driver.next_task()
    assert third is not None
    enqueue(job.directory, Configuration(method="graddiff", params={}))
    driver.settle(third, run_trial(third, job, prepared, executor))
    assert driver.no_more_tasks()
    assert driver.next_task() is None
    assert len(waiting_files(job.directory)) == 1  # no trial was left for it
