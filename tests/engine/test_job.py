"""Oracle: a job is its own JSON; the digest moves with what decides a trial and with nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from unlearn_sweep.engine.job import AttackSettings, BenchmarkSettings, ModelSource, SweepJob
from unlearn_sweep.engine.search_settings import Budget, SearchSettings
from unlearn_sweep.engine.search_space import Choice, Fixed, LogUniform, MethodSpace
from unlearn_sweep.engine.training.settings import TrainingSettings, Workers


def job(**changes: Any) -> SweepJob:
    fields: dict[str, Any] = {
        "name": "x",
        "seed": 3,
        "benchmark": BenchmarkSettings(name="authors", params={"authors": 40}),
        "original": ModelSource(),
        "gold": ModelSource(recipe={"epochs": 3.0}),
        "spaces": [
            MethodSpace(
                method="npo", params={"beta": LogUniform(0.1, 1.0), "retain": Choice(("nll", "kl")), "epochs": Fixed(5)}
            )
        ],
        "training": TrainingSettings(),
        "ue_metrics": ["probability"],
        "ut_metrics": ["probability"],
        "attacks": [AttackSettings(label="relearn", name="relearn", family="relearn", params={"steps": [5]})],
        "search": SearchSettings(trials=4, minimum={"ut": 0.5}),
        "storage": Path("/runs"),
        "directory": Path("/runs/x"),
    }
    return SweepJob(**{**fields, **changes})


def test_a_job_survives_json() -> None:
    made = job()
    assert SweepJob.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    "changes",
    [
        {"storage": Path("/other"), "directory": Path("/other/x")},
        {"concurrent_trials": 4, "threads": 8, "evaluation_resources": {"GPU": 1.0}, "evaluation_workers": 2},
        {"training": TrainingSettings(workers=4)},
        {"search": SearchSettings(trials=99, minimum={"ut": 0.5}, budget=Budget(wall_hours=1.0))},
        {"mlflow": "off", "spec_text": "# another comment", "stage_timeout_s": 5.0},
    ],
)
def test_what_does_not_change_the_sweep(changes: dict[str, Any]) -> None:
    assert job(**changes).digest() == job().digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"search": SearchSettings(trials=4)},
        {"training": TrainingSettings(global_batch_size=16)},
        {"gold": ModelSource()},
        {"spaces": [MethodSpace(method="npo", params={"beta": LogUniform(0.1, 2.0)})]},
        {"attacks": []},
        {"benchmark": BenchmarkSettings(name="authors", params={"authors": 41})},
    ],
)
def test_what_makes_another_sweep(changes: dict[str, Any]) -> None:
    assert job(**changes).digest() != job().digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"storage": Path("runs")},
        {"search": {"trials": 0}},
        {"training": {"epochs": 5, "max_steps": 5}},
        {"training": {"backend": "torch", "zero_stage": 2}},
        {"original": {"path": "/m", "recipe": {}}},
        {"spaces": [{"method": "npo", "params": {"beta": {"kind": "uniform", "low": 2, "high": 1}}}]},
        {"unheard_of": 1},
    ],
)
def test_illegal_jobs(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        job(**changes)


def test_workers_default_to_none() -> None:
    assert Workers().count == 0
