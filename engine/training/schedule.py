"""The number of steps of a training and the learning rate of each; the same for every backend."""

from __future__ import annotations

import math

from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.settings import Decay


def step_count(job: TrainJob, steps_per_epoch: int) -> int:
    """Return the number of optimizer steps of a job, rounded up, at least 1.

    Raises:
        ValueError: the job has neither `epochs` nor `max_steps`.
    """
    if job.training.max_steps is not None:
        return job.training.max_steps
    if job.training.epochs is None:
        raise ValueError("a job has epochs or max_steps; this one has neither")
    return max(1, math.ceil(round(job.training.epochs * steps_per_epoch, 6)))


def steps_at(share: float, steps: int) -> int:
    """Return the steps that a share in (0, 1] of `steps` steps has, rounded to the nearest, at least 1."""
    return max(1, round(share * steps))


def learning_rate(job: TrainJob, step: int, steps: int) -> float:
    """Return the learning rate of step `step` of `steps`, counted from 0.

    It rises linearly over the first ceil(warmup_share * steps) steps and reaches the peak at the last of them. It is
    never 0.
    """
    warmup = math.ceil(job.training.warmup_share * steps)
    if step < warmup:
        return job.learning_rate * (step + 1) / warmup
    return job.learning_rate * decayed(job.training.decay, (step - warmup) / (steps - warmup))


def decayed(decay: Decay, progress: float) -> float:
    """Return the share of the peak rate after a share `progress` in [0, 1) of the steps that follow the warm-up."""
    if decay == "linear":
        return 1.0 - progress
    if decay == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0
