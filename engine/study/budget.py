"""Check whether a sweep has used up its budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.records import TrialRecord

TRAINING_STAGES = ("reinforce", "unlearn")
"""Stages of a trial that train."""


def budget_spent(job: SweepJob, settled: Iterable[TrialRecord], *, hours: float) -> str | None:
    """Return which limit of the sweep file is used up, or None.

    `hours` are the hours since this run started, by a monotonic clock. GPU hours are the hours of each stage times
    the GPUs it holds, over all trials and all runs of the sweep. Stages of original and gold are not included.
    """
    limits = job.search.budget
    if limits.wall_hours is not None and hours > limits.wall_hours:
        return f"budget used up: wall_hours = {limits.wall_hours:g}"
    spent = sum(_gpu_seconds(job, run.stage_seconds) for record in settled for run in (record, *record.seeds)) / 3600
    if limits.gpu_hours is not None and spent > limits.gpu_hours:
        return f"budget used up: gpu_hours = {limits.gpu_hours:g}, spent {spent:.1f}"
    return None


def _gpu_seconds(job: SweepJob, stage_seconds: Mapping[str, float]) -> float:
    """Return the seconds of each stage times the GPUs it holds. Without training workers, the workbench trains."""
    workers, measuring = job.training.worker_group, job.measuring.get("GPU", 0.0)
    training = workers.count * workers.resources.get("GPU", 0.0) if workers.count else measuring
    return sum(
        seconds * (training if stage in TRAINING_STAGES else measuring) for stage, seconds in stage_seconds.items()
    )
