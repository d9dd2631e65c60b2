"""A search whose trainings are measured at shares: real driver, study, trainings and report, in this process.

Oracles: the event log for what was trained, and the records of the sweep for the rest.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.support.tiny_authors import QUANTIZE, make_ready, tiny_job
from unlearn_sweep.engine.driver.sweep import Driver
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import CHECKPOINT, Choice, Fixed, LogUniform, MethodSpace
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.front import members_of
from unlearn_sweep.engine.training_space import checkpoint_shares
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.html_parts import settings_text

SPACE = MethodSpace(
    method="npo",
    params={
        "learning_rate": LogUniform(3e-4, 3e-3),
        "epochs": Fixed(2),
        **{name: Fixed(value) for name, value in {"beta": 0.5, "reduction": "sequence_sum", "retain": "nll"}.items()},
        **{name: Fixed(1.0) for name in ("forget_weight", "retain_weight")},
        "training.global_batch_size": Choice((8, 12)),
        CHECKPOINT: Choice((1.0, 0.5)),
    },
)


@pytest.mark.slow
def test_two_trainings_are_four_points(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, "shares", [QUANTIZE], trials=4, prune=False)
    training = job.training.model_copy(update={"checkpoints": (0.5, 1.0)})
    job, prepared, executor = make_ready(job.model_copy(update={"training": training, "spaces": [SPACE]}))
    driver = Driver(job)
    driver.open()
    driver.attack_costs = {}
    driver.broker = StudyBroker(
        job.directory / "study.journal", [SPACE], SearchPlan(**job.search.model_dump(), seed=1), identity={},
        shares=partial(checkpoint_shares, job.training),
    )  # fmt: skip
    while (task := driver.next_task()) is not None:
        driver.settle(task, run_trial(task, job, prepared, executor))
    driver.finish()
    trained = [
        event.trial for event in driver.events.read() if (event.event, event.stage) == ("stage_finished", "unlearn")
    ]
    assert [number for number in trained if number is not None][:2] == [0, 2]
    records = driver.records()
    assert [record.params[CHECKPOINT] for record in records] == [1.0, 0.5, 1.0, 0.5]
    assert [record.state for record in records] == ["complete"] * 4
    assert len({record.stage_keys["unlearn"] for record in records}) == 4
    for end, middle in (records[:2], records[2:]):
        assert {name: value for name, value in end.params.items() if name != CHECKPOINT} == {
            name: value for name, value in middle.params.items() if name != CHECKPOINT
        }
        assert end.training is not None
        assert middle.training is not None
        assert (middle.training.steps * 2, middle.training.planned_steps) == (end.training.steps, end.training.steps)
    reused = [
        event.trial for event in driver.events.read() if (event.event, event.stage) == ("stage_reused", "unlearn")
    ]
    assert reused == [1, 3]
    kept = {path.name for path in (driver.store.root / "models").iterdir()}
    models = {record.stage_keys["unlearn"] for record in records}
    assert kept & models == {record.stage_keys["unlearn"] for record in members_of(records)}
    report = load_report(job.directory)
    assert all("training.checkpoint=0.5" in settings_text(report.trials[number]) for number in (1, 3))
