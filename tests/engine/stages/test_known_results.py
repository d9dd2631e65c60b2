"""Weights whose results are known are not trained again. Oracle: a count of the trainings that really run.

Each case is a kind of training. Its trial runs once, its weights are removed, and it comes again as in a resumed sweep,
with an attack more, and with a metric more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.tiny_authors import PREFILL, QUANTIZE, Ready, make_ready, tiny_job
from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.search_space import CHECKPOINT, Fixed, MethodSpace, Scalar
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.prepare import Preparation
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.settings import LoraSettings

PARAMS: dict[str, Scalar] = {"learning_rate": 1e-3, "epochs": 2, "beta": 0.5}
UNDO: dict[str, Scalar] = {"undo.learning_rate": 1e-3, "undo.epochs": 1, "undo.alpha": 0.3, "undo.beta": 0.2}
NEW_ATTACK = AttackSettings(label="quantize-2", name="quantize", family="quantize", params={"bits": [2]})


class Counting(InProcessExecutor):
    """Notes what each training makes: "trained", or "restored" from a kept adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome:
        self.made.append("trained" if job.kept_adapter is None else "restored")
        return super().train(job, name=name)


def plain(job: SweepJob) -> SweepJob:
    return job


def with_adapters(job: SweepJob) -> SweepJob:
    return _trained_with(job, {"lora": LoraSettings(rank=2)})


def with_shares(job: SweepJob) -> SweepJob:
    return _trained_with(job, {"checkpoints": (0.5, 1.0)})


def _trained_with(job: SweepJob, changes: dict[str, object]) -> SweepJob:
    return job.model_copy(update={"training": job.training.model_copy(update=changes)})


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return make_ready(tiny_job(tmp_path_factory.mktemp("storage"), "one", [PREFILL, QUANTIZE]))


@pytest.mark.parametrize(
    ("settings", "method", "params", "again"),
    [
        (plain, "npo", {**PARAMS, "beta": 0.4}, ["trained"]),
        (with_adapters, "npo", {**PARAMS, "beta": 0.3}, ["restored"]),
        (with_shares, "npo", {**PARAMS, "beta": 0.2, CHECKPOINT: 1.0}, ["trained"]),
        (with_shares, "npo", {**PARAMS, "beta": 0.1, CHECKPOINT: 0.5}, ["trained"]),
        (plain, "npo>undo", {**PARAMS, **UNDO}, ["trained", "trained"]),
    ],
    ids=["plain", "adapters", "whole", "share", "two in turn"],
)
def test_known_results_need_no_weights(
    ready: Ready,
    settings: Callable[[SweepJob], SweepJob],
    method: str,
    params: dict[str, Scalar],
    again: list[str],
) -> None:
    """A resumed trial trains nothing; an attack or a metric more needs the weights, and nothing known is repeated."""
    space = MethodSpace(method=method, params={name: Fixed(value) for name, value in params.items()})
    job = settings(ready[0]).model_copy(update={"spaces": [space]})
    first, made = run(job, method, params)
    assert first.state == "complete", first.reason
    assert made
    evict_all(job.storage)
    resumed, made = run(job, method, params)
    assert made == []
    assert resumed.reused_stages == ["unlearn", "evaluate", "attack:prefill", "attack:quantize"]
    assert (resumed.ue, resumed.ut, resumed.rob) == (first.ue, first.ut, first.rob)
    attacked, made = run(job.model_copy(update={"attacks": [PREFILL, QUANTIZE, NEW_ATTACK]}), method, params)
    assert attacked.state == "complete", attacked.reason
    assert made == again
    assert {"evaluate", "attack:prefill", "attack:quantize"} <= set(attacked.reused_stages)
    evict_all(job.storage)
    metrics = [*job.ue_metrics, "exact_memorization"]
    measured, made = run(job.model_copy(update={"ue_metrics": metrics}), method, params)
    assert measured.state == "complete", measured.reason
    assert made == again


def run(job: SweepJob, method: str, params: dict[str, Scalar]) -> tuple[TrialRecord, list[str]]:
    """Prepare the controls, then run the trial. Return its record and what was made for it."""
    executor = Counting()
    runner = StageRunner(StageStore(job.storage), EventLog(job.directory / "events.jsonl"))
    prepared = Preparation(job, runner, [executor], in_turn=True).run()
    before = len(executor.made)
    task = TrialTask(number=0, key="k0", method=method, params=params, seed=3)
    return run_trial(task, job, prepared, executor), executor.made[before:]


def evict_all(storage: Path) -> None:
    """Remove the weights of every trial, as a sweep does with what is on no front. Original and gold stay."""
    store = StageStore(storage)
    for folder in (store.root / "models").iterdir():
        result = store.result(folder.name)
        if result is not None and not result.stage.startswith("prepare:"):
            store.evict_model(folder.name)
