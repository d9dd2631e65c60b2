"""What a sweep holds: GPUs of a trial, GPU hours, bytes on disk."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.resources.placement import per_trial
from unlearn_sweep.sweeps.plan.stages import StagePlan

FRONT_MEMBERS = 8
BYTES_PER_ROW_VALUE = 40


def gpus_of(job: SweepJob) -> float:
    """Return the GPUs that one trial holds at most."""
    return per_trial(job.training.worker_group, job.measuring).get("GPU", 0.0)


def gpu_hours(job: SweepJob, total_s: float | None, at_once: int) -> float | None:
    """Return the GPU hours of a sweep of `total_s` seconds with `at_once` trials in parallel; None without a time."""
    return None if total_s is None else gpus_of(job) * at_once * total_s / 3600


def _bytes_per_weight(job: SweepJob) -> int:
    return 2 if job.dtype == "bfloat16" or (job.dtype == "auto" and gpus_of(job) > 0) else 4


def disk_bytes(
    job: SweepJob, parameters: int | None, rows: int, stages: Sequence[StagePlan], at_once: int
) -> int | None:
    """Return the bytes of models (start, original, gold, front, running trials) and of evaluation tables."""
    if parameters is None:
        return None
    trained = sum(source.path is None and source.floor is None for source in (job.original, job.gold))
    models = (trained + 1 if trained else 0) + min(job.search.trials, FRONT_MEMBERS) + at_once
    states = 1 + sum(stage.states for stage in stages if stage.per == "trial")
    values = rows * states * (len({*job.ue_metrics, *job.ut_metrics}) + 2)
    return models * parameters * _bytes_per_weight(job) + (job.search.trials + 2) * values * BYTES_PER_ROW_VALUE


def resource_obstacles(
    disk: int | None, free: int, memory: float | None, machine_gib: float | None, *, on_gpu: bool
) -> tuple[str, ...]:
    """Return what makes the sweep too large for this machine: `disk` bytes, or `memory` of one trial in GiB."""
    found = []
    if disk is not None and disk > free:
        found.append(
            f"results need about {disk / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free in the storage"
        )
    if memory is not None and machine_gib is not None and memory > machine_gib and not on_gpu:
        found.append(f"one trial needs about {memory:.1f} GiB of memory, and this machine has {machine_gib:.1f}")
    return tuple(found)
