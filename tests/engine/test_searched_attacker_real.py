"""A searched attacker on real trainings. Oracles: each attack scored by hand, and the front with every attack run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_authors import QUANTIZE, make_ready, tiny_job
from unlearn_sweep.engine.driver.sweep import make_task
from unlearn_sweep.engine.job import AttackerSearch, AttackSettings
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import Choice, Fixed, MethodSpace
from unlearn_sweep.engine.stages.attack_order import base_costs
from unlearn_sweep.engine.stages.controls import write_controls
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.front import front_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RATES = (1e-4, 1e-3, 5e-2)
"""Of the attacker: too low to recover much, about right, and so high that the model breaks."""
FLOOR = 0.8
SPACE = MethodSpace(
    method="npo",
    params={
        "learning_rate": Choice((3e-4, 1e-3, 2e-3)),
        "epochs": Fixed(2),
        "beta": Choice((0.1, 1.0)),
        "retain": Fixed("nll"),
    },
)
TRIALS = 6


def attacker() -> list[AttackSettings]:
    return [
        AttackSettings(
            label=f"relearn-search-0{number}",
            name="relearn",
            family="relearn",
            params={"data": "forget", "steps": [2, 6], "learning_rate": rate, "batch_size": 8},
            searched=AttackerSearch(
                label="relearn-search", trials=len(RATES), utility_floor=FLOOR, values={"learning_rate": rate}
            ),
        )
        for number, rate in enumerate(RATES, start=1)
    ]


def _run(storage: Path, name: str, *, prune: bool, executor: InProcessExecutor) -> list[TrialRecord]:
    job = tiny_job(storage, name, [*attacker(), QUANTIZE], trials=TRIALS, prune=prune, reproducible=True)
    _, prepared, _ = make_ready(job, executor)
    controls = write_controls(job, prepared, StageStore(storage))
    assert list(controls.original.attacks) == list(controls.gold.attacks) == [attack.label for attack in job.attacks]
    plan = SearchPlan(sampler="grid", allocation="equal", trials=TRIALS, seed=1)
    broker = StudyBroker(job.directory / "study.journal", [SPACE], plan, identity={})
    costs = base_costs(job.attacks, prepared, StageStore(storage), timed=False)
    while (proposal := broker.ask()) is not None:
        record = run_trial(make_task(proposal, list(broker.settled.values()), job, costs), job, prepared, executor)
        broker.settle(record)
    return list(broker.settled.values())


def test_rob_is_the_worst_kept_state_and_the_front_is_that_of_all_attacks(tmp_path: Path) -> None:
    executor = InProcessExecutor()
    pruned = _run(tmp_path, "on", prune=True, executor=executor)
    whole = _run(tmp_path, "off", prune=False, executor=executor)
    complete = [record for record in whole if record.state == "complete"]
    assert len(complete) >= TRIALS // 2
    assert front_of(pruned, wanted=TRIALS).front == front_of(whole, wanted=TRIALS).front
    broken = 0
    for record in complete:
        assert record.ut is not None
        relearnt = [score for score in record.attacks if score.searched == "relearn-search"]
        points = [point for score in relearnt for point in score.curve]
        kept = [p.still_forgotten for p in points if p.utility is not None and p.utility >= FLOOR * record.ut]
        broken += len(points) - len(kept)
        values = [value for value in [*kept, record.ue] if value is not None]
        quantized = next(score.value for score in record.attacks if score.family == "quantize")
        assert record.rob == pytest.approx(min([*values, *([] if quantized is None else [quantized])]))
        assert record.rob_detail is not None
        assert record.rob_detail.worst["relearn-search"] in {score.attack for score in relearnt}
    assert broken  # else the floor was not tested
