"""When no further trial begins. Oracle: hours and volumes worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.recorded_attacks import recorded_job
from tests.support.sweep_folder import trial
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_settings import Budget
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.budget import budget_spent


def job_of(tmp_path: Path, *, workers: int = 0, gpus: tuple[float, float] = (0.0, 0.0), **budget: Any) -> SweepJob:
    job = recorded_job(tmp_path, "s", [], prune=False)
    training = job.training.model_copy(update={"workers": workers, "resources_per_worker": {"CPU": 1, "GPU": gpus[0]}})
    search = job.search.model_copy(update={"budget": Budget(**budget)})
    resources = {"CPU": 1.0, "GPU": gpus[1]}
    return job.model_copy(update={"training": training, "search": search, "evaluation_resources": resources})


def at(number: int, ue: float, ut: float) -> TrialRecord:
    return trial(number, ue=ue, ut=ut, rob=1.0, finished=float(number))


@pytest.mark.parametrize(
    ("workers", "gpus", "hours"),
    [(0, (0.0, 1.0), 3.0), (2, (1.0, 1.0), 4.0), (2, (1.0, 0.0), 2.0), (2, (0.0, 0.5), 1.0), (0, (0.0, 0.0), 0.0)],
)
def test_every_stage_counts_by_the_gpus_it_holds(
    tmp_path: Path, workers: int, gpus: tuple[float, float], hours: float
) -> None:
    """An hour of training, one of evaluation and one of an attack."""
    stages = {"unlearn": 3600.0, "evaluate": 3600.0, "attack:relearn": 3600.0}
    record = trial(0, stage_seconds=stages)
    enough = job_of(tmp_path, workers=workers, gpus=gpus, gpu_hours=hours + 0.01)
    assert budget_spent(enough, [record], hours=0) is None
    if hours:
        short = job_of(tmp_path, workers=workers, gpus=gpus, gpu_hours=hours - 0.01)
        assert budget_spent(short, [record], hours=0) == (
            f"budget used up: gpu_hours = {hours - 0.01:g}, spent {hours:.1f}"
        )


GROWING = [at(0, 0.5, 0.5), at(1, 0.4, 0.6), at(2, 0.6, 0.4)]
"""Hypervolumes 0.25, 0.25 + 0.04, 0.25 + 0.04 + 0.04."""
STALE = [at(3, 0.1, 0.1), at(4, 0.5, 0.4), at(5, 0.5, 0.501)]
"""Two that are dominated, and one that adds (0.5 - 0.4) x (0.501 - 0.5) = 0.0001."""


@pytest.mark.parametrize(
    ("stale", "gain", "records", "stops"),
    [
        (3, 0.01, GROWING, False),  # nothing before the last three to compare with
        (2, 0.01, GROWING, False),
        (2, 0.01, [*GROWING, *STALE[:2]], True),
        (3, 0.01, [*GROWING, *STALE], True),
        (3, 0.001, [*GROWING, *STALE], True),  # 0.0001 of 0.3301 is a share of 0.0003
        (3, 0.0002, [*GROWING, *STALE], False),
        (4, 0.01, [*GROWING, *STALE], False),  # the third trial's 0.04 is among them
        (1, 0.0, [*GROWING, STALE[0]], True),  # no gain at all
        (1, 0.0, [*GROWING, STALE[2]], False),
        (2, 0.01, [], False),
    ],
)
def test_a_front_that_stops_growing(
    tmp_path: Path, stale: int, gain: float, records: list[TrialRecord], stops: bool
) -> None:
    job = job_of(tmp_path, stale_trials=stale, stale_gain=gain)
    reason = budget_spent(job, records, hours=0)
    assert (reason is not None) == stops
    if reason is not None:
        assert "the front has stopped growing" in reason


def test_wall_hours(tmp_path: Path) -> None:
    assert budget_spent(job_of(tmp_path, wall_hours=2.0), [], hours=1.9) is None
    assert budget_spent(job_of(tmp_path, wall_hours=2.0), [], hours=2.1) == "budget used up: wall_hours = 2"
