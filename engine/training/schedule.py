"""How many steps a training has, and the learning rate of each. Pure arithmetic, the same for every backend."""

from __future__ import annotations

import math

from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.settings import Decay


def step_count(job: TrainJob, steps_per_epoch: int) -> int:
    """Optimizer steps of a job; part of a step is a step."""
    if job.training.max_steps is not None:
        return job.training.max_steps
    if job.training.epochs is None:
        raise ValueError("a job has epochs or max_steps; this one has neither")
    return max(1, math.ceil(round(job.training.epochs * steps_per_epoch, 6)))


def learning_rate(job: TrainJob, step: int, steps: int) -> float:
    """Learning rate of step `step` of `steps`, counted from 0.

    It climbs linearly over the first ceil(warmup_share * steps) steps, the last of which has the peak; no step has 0.
    """
    warmup = math.ceil(job.training.warmup_share * steps)
    if step < warmup:
        return job.learning_rate * (step + 1) / warmup
    return job.learning_rate * decayed(job.training.decay, (step - warmup) / (steps - warmup))


def decayed(decay: Decay, progress: float) -> float:
    """The share of the peak rate after `progress` in [0, 1) of the steps that follow the warm-up."""
    if decay == "linear":
        return 1.0 - progress
    if decay == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0
