"""Check whether a sweep has used up its budget, or its front has stopped growing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_settings import Budget
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.front import front_of

TRAINING_STAGES = ("reinforce", "suppress", "unlearn")
"""Stages of a trial that train."""


def budget_spent(job: SweepJob, settled: Iterable[TrialRecord], *, hours: float) -> str | None:
    """Return which limit of the sweep file is used up, or None.

    `hours` are the hours since this run started, by a monotonic clock. GPU hours are the hours of each stage times
    the GPUs it holds, over all trials and all runs of the sweep. Stages of original and gold are not included.
    """
    limits, records = job.search.budget, list(settled)
    if limits.wall_hours is not None and hours > limits.wall_hours:
        return f"budget used up: wall_hours = {limits.wall_hours:g}"
    spent = sum(_gpu_seconds(job, run.stage_seconds) for record in records for run in (record, *record.seeds)) / 3600
    if limits.gpu_hours is not None and spent > limits.gpu_hours:
        return f"budget used up: gpu_hours = {limits.gpu_hours:g}, spent {spent:.1f}"
    return _stale(records, limits)


def _stale(records: Sequence[TrialRecord], limits: Budget) -> str | None:
    """Return that the front has stopped growing, or None. Duplicates do not count, random first trials do."""
    if limits.stale_trials is None:
        return None
    front = front_of(records, wanted=0)
    before = front.trials_settled - limits.stale_trials
    if before < 1:
        return None
    then = max((volume for position, volume in front.hypervolume_curve if position <= before), default=0.0)
    if front.hypervolume - then >= limits.stale_gain * front.hypervolume and front.hypervolume > then:
        return None
    return (
        f"the front has stopped growing: the last {limits.stale_trials} trials took its hypervolume from {then:.4g} to "
        f"{front.hypervolume:.4g}, less than stale_gain = {limits.stale_gain:g}"
    )


def _gpu_seconds(job: SweepJob, stage_seconds: Mapping[str, float]) -> float:
    """Return the seconds of each stage times the GPUs it holds. Without training workers, the workbench trains."""
    workers, measuring = job.training.worker_group, job.measuring.get("GPU", 0.0)
    training = workers.count * workers.resources.get("GPU", 0.0) if workers.count else measuring
    return sum(
        seconds * (training if stage in TRAINING_STAGES else measuring) for stage, seconds in stage_seconds.items()
    )
