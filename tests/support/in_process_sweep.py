"""A whole sweep in this process: every part of it but Ray. What the folder holds afterwards is that of any sweep."""

from __future__ import annotations

from unlearn_sweep.engine.driver.sweep import Driver
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.attack_order import base_costs
from unlearn_sweep.engine.stages.controls import write_controls
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.prepare import Preparation
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.store.records import TrialRecord


def run_in_process(job: SweepJob, executor: InProcessExecutor) -> list[TrialRecord]:
    """Run the sweep and return its records. `executor` trains and measures."""
    driver = Driver(job)
    driver.open()
    job = driver.job
    prepared = Preparation(job, StageRunner(driver.store, driver.events), [executor], in_turn=True).run()
    write_controls(job, prepared, driver.store)
    driver.attack_costs = base_costs(job.attacks, prepared, driver.store, timed=False)
    driver.hold_stored(prepared)
    driver._open_broker(prepared)
    while (task := driver.next_task()) is not None:
        driver.settle(task, run_trial(task, job, prepared, executor))
    driver.finish()
    return driver.records()
