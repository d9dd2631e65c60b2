"""A model on the front that is not in the store is made again after the search. Oracle: fronts worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.recorded_attacks import recorded_job
from tests.support.sweep_folder import trial
from unlearn_sweep.engine.driver.sweep import Driver
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.study.broker import Proposal


class Asked:
    """A study of which every trial is asked and settled."""

    finished_asking = True
    all_settled = True

    def ask(self) -> None:
        return None

    def proposal_of(self, number: int, method: str, params: Mapping[str, Any], *, seed: int) -> Proposal:
        return Proposal(number=number, key=f"k{number}", method=method, params=dict(params), seed=seed)


def record(number: int, ue: float, ut: float) -> TrialRecord:
    return trial(number, ue=ue, ut=ut, rob=0.5, stage_keys={"unlearn": f"m{number}"})


@pytest.fixture
def job(tmp_path: Path) -> SweepJob:
    """Trials 0 and 1 are on the front, 2 is beaten; of the three models only that of trial 0 is there."""
    made = recorded_job(tmp_path, "sweep", [], prune=False)
    StageStore(tmp_path).model_folder("m0").mkdir(parents=True)
    return made.model_copy(update={"search": made.search.model_copy(update={"trials": 3})})


@pytest.fixture
def driver(job: SweepJob, monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver(job)
    driver.open()
    for made in (record(0, 0.9, 0.1), record(1, 0.1, 0.9), record(2, 0.05, 0.05)):
        driver.write_record(made.model_copy(update={"code": driver.code_version}))
    monkeypatch.setattr(driver, "broker", Asked())
    return driver


def test_a_front_member_without_weights_is_given_out_once(driver: Driver) -> None:
    assert not driver.no_more_tasks()
    task = driver.next_task()
    assert task is not None
    assert (task.number, task.weights_only, task.holder) == (1, True, "1-weights")
    assert driver.next_task() is None
    assert driver.no_more_tasks()


def test_a_sweep_is_finished_when_its_front_has_its_weights(driver: Driver) -> None:
    assert not driver.is_finished()
    driver.store.model_folder("m1").mkdir()
    assert driver.is_finished()


def test_weights_of_other_code_are_not_made_again_and_the_sweep_is_finished(driver: Driver) -> None:
    driver.write_record(driver.settled[1].model_copy(update={"code": "other"}))
    assert driver.is_finished()
    assert driver.next_task() is None
    assert "weights of front members 1 are not stored" in (driver.lost_weights() or "")
    driver.store.model_folder("m1").mkdir()
    assert driver.lost_weights() is None


def test_the_record_stays_as_it_is_and_a_failure_is_noted(driver: Driver) -> None:
    task = driver.next_task()
    assert task is not None
    before = driver.settled[1]
    driver.retention.hold(task.holder, "m1")
    driver.settle(task, before.model_copy(update={"state": "failed", "ue": None, "reason": "no more power"}))
    assert driver.settled[1] == before
    assert "no more power" in (driver.events.read()[-1].reason or "")
    assert not (driver.directory / "in_use" / task.holder).exists()


def test_a_driver_that_died_meanwhile_leaves_no_model_in_use(driver: Driver, job: SweepJob) -> None:
    driver.retention.hold("1-weights", "m1")
    Driver(job).open()
    assert not (driver.directory / "in_use" / "1-weights").exists()
