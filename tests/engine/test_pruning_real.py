"""A grid of real trainings, attacked with and without pruning. Oracle: the front of the runs with every attack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_authors import PREFILL, QUANTIZE, make_ready, tiny_job
from unlearn_sweep.engine.driver.sweep import make_task
from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import Choice, Fixed, MethodSpace
from unlearn_sweep.engine.stages.attack_order import base_costs
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.front import front_of
from unlearn_sweep.sweeps.report.savings import savings
from unlearn_sweep.sweeps.report.timeline import Timeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RELEARN = AttackSettings(
    label="relearn",
    name="relearn",
    family="relearn",
    params={"data": "forget", "steps": [4], "learning_rate": 1e-3, "batch_size": 8},
)
RATES = Choice((3e-4, 6e-4, 1e-3, 2e-3, 3e-3))
SPACES = [
    MethodSpace(method="graddiff", params={"learning_rate": RATES, "epochs": Fixed(2), "retain": Fixed("nll")}),
    MethodSpace(
        method="npo",
        params={"learning_rate": RATES, "epochs": Fixed(2), "beta": Choice((0.1, 1.0)), "retain": Fixed("nll")},
    ),
]
TRIALS = 15


def _run(storage: Path, name: str, *, prune: bool, executor: InProcessExecutor) -> tuple[list[TrialRecord], Timeline]:
    """The grid's trials one after the other, each knowing those before, as a sweep of one trial at once runs them."""
    job = tiny_job(storage, name, [PREFILL, QUANTIZE, RELEARN], trials=TRIALS, prune=prune, reproducible=True)
    _, prepared, _ = make_ready(job, executor)
    plan = SearchPlan(sampler="grid", allocation="equal", trials=TRIALS, seed=1)
    broker = StudyBroker(job.directory / "study.journal", SPACES, plan, identity={})
    costs = base_costs(job.attacks, prepared, StageStore(storage), timed=False)
    while (proposal := broker.ask()) is not None:
        record = run_trial(make_task(proposal, list(broker.settled.values()), job, costs), job, prepared, executor)
        broker.settle(record)
    events = EventLog(job.directory / "events.jsonl").read()
    return list(broker.settled.values()), Timeline.of(events)


def test_the_front_of_a_real_grid_is_the_same_with_and_without(tmp_path: Path) -> None:
    executor = InProcessExecutor()
    pruned, timeline = _run(tmp_path, "on", prune=True, executor=executor)
    whole, _ = _run(tmp_path, "off", prune=False, executor=executor)
    assert [record.params for record in pruned] == [record.params for record in whole]
    assert sum(record.state == "complete" for record in whole) >= TRIALS // 2
    assert front_of(pruned, wanted=TRIALS).front == front_of(whole, wanted=TRIALS).front
    saved = savings(pruned, timeline)
    assert saved.skipped > 0  # else this test shows nothing
    assert saved.unknown == 0
    print(f"{saved.skipped} attacks of {saved.trials} trials skipped, {saved.seconds:.1f} s saved ({saved.share:.0%})")
