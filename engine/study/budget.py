"""Check whether a sweep has used up its budget."""

from __future__ import annotations

from collections.abc import Iterable

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.records import TrialRecord

TRAINING_STAGES = ("reinforce", "unlearn")
"""Stages of a trial that use the training workers."""


def budget_spent(job: SweepJob, settled: Iterable[TrialRecord], *, hours: float) -> str | None:
    """Return which limit of the sweep file is used up, or None.

    `hours` are the hours since this run started, by a monotonic clock. GPU hours count the training workers only, over
    all runs of the sweep.
    """
    limits, workers = job.search.budget, job.training.worker_group
    if limits.wall_hours is not None and hours > limits.wall_hours:
        return f"budget used up: wall_hours = {limits.wall_hours:g}"
    gpus = workers.count * workers.resources.get("GPU", 0.0)
    runs = [run for record in settled for run in (record, *record.seeds)]
    trained_s = sum(run.stage_seconds.get(stage, 0.0) for run in runs for stage in TRAINING_STAGES)
    spent = trained_s * gpus / 3600
    if limits.gpu_hours is not None and spent > limits.gpu_hours:
        return f"budget used up: gpu_hours = {limits.gpu_hours:g}, spent {spent:.1f}"
    return None
