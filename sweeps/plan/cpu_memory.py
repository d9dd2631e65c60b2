"""Estimate the main memory of one trial on a machine without GPUs."""

from __future__ import annotations

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.optimizers.catalog import OPTIMIZERS
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.training_space import settings_to_try

MEASURING_BYTES_PER_PARAMETER = 8.0
"""The measured model, and one that an attack changes."""
PROCESS_GIB = 1.2
"""What a process holds without a model: libraries, data."""


def trial_gib(job: SweepJob, parameters: int | None) -> float | None:
    """Return the memory (GiB) of one trial: its measuring processes and its training workers; None if unknown."""
    if parameters is None:
        return None
    workers, gib = job.training.workers, parameters / 2**30
    tried = [settings for space in job.spaces for settings in settings_to_try(job.training, space)]
    each = max(map(_worker_bytes, tried or [job.training]))
    processes = 1 if job.evaluation_workers == "auto" else job.evaluation_workers
    helping = (processes - 1) * (PROCESS_GIB + MEASURING_BYTES_PER_PARAMETER * gib)
    if not workers:
        return PROCESS_GIB + each * gib + helping
    trained = workers * each + MEASURING_BYTES_PER_PARAMETER
    return (1 + workers) * PROCESS_GIB + trained * gib + helping


def _worker_bytes(training: TrainingSettings) -> float:
    """Return the bytes that a training worker holds for each parameter; ZeRO's stages share some of them."""
    card = OPTIMIZERS[training.optimizer]
    weights, gradients, optimizer = 4.0, 4.0 if card.gradients else 0.0, 4.0 * card.states
    if training.backend == "torch":
        return weights + gradients + optimizer
    optimizer += 4.0  # it has its own copy of the weights
    parts = ((weights, 3), (gradients, 2), (optimizer, 1))
    return sum(size / (training.workers if training.zero >= stage else 1) for size, stage in parts)
