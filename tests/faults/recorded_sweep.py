"""A whole sweep in one process, without Ray: the driver, its study, its stages and its finalists over recorded numbers.

It is what a killed process runs here, and what its successor goes on with.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.recorded_attacks import Recorded, RecordedExecutor, attack_list, prepare, recorded_job
from unlearn_sweep.engine.driver.sweep import Driver
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.mirror.background import weights_from_mirror
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import Choice, Fixed, MethodSpace
from unlearn_sweep.engine.stages.attack_order import base_costs
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.broker import StudyBroker

ATTACKS = attack_list(("prefill", "prompt"), ("quantize", "quantize"))
# The second trial is beaten by the first, so attacks are skipped too; the first and the third make the front.
TRIALS = [
    Recorded(0.9, 0.5, {"prefill0": 0.5, "quantize1": 0.6}),
    Recorded(0.8, 0.4, {"prefill0": 0.4, "quantize1": 0.2}),
    Recorded(0.4, 0.9, {"prefill0": 0.7, "quantize1": 0.3}),
]
RATES = Choice(tuple((number + 1) / 1000 for number in range(len(TRIALS))))
SPACE = MethodSpace(method="graddiff", params={"learning_rate": RATES, "retain": Fixed("nll")})
SEEDS = 2


def job_of(storage: Path) -> SweepJob:
    job = recorded_job(storage, "sweep", ATTACKS, prune=True)
    search = job.search.model_copy(update={"trials": len(TRIALS), "seeds_for_finalists": SEEDS})
    return job.model_copy(update={"search": search})


def run(storage: str, mirror: str | None = None) -> list[TrialRecord]:
    """Run the sweep in `storage`, or go on with it. The records of all trials."""
    job = job_of(Path(storage)).model_copy(update={"mirror": mirror})
    fetch_weights = weights_from_mirror(job, print) if mirror is not None else None
    driver = Driver(job, fetch_weights=fetch_weights)
    driver.open()
    prepared, executor = prepare(job), RecordedExecutor(TRIALS)
    driver.attack_costs = base_costs(ATTACKS, prepared, driver.store, timed=False)
    plan = SearchPlan(sampler="tpe", allocation="equal", trials=len(TRIALS), seed=1, window=1)
    journal = job.directory / "study.journal"
    driver.broker = StudyBroker(journal, [SPACE], plan, identity={}, known=driver.settled.values())
    while (task := driver.next_task()) is not None:
        driver.settle(task, run_trial(task, job, prepared, executor))
    driver.finish()
    return driver.records()
