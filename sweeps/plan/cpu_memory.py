"""Estimate the main memory of one trial on a machine without GPUs."""

from __future__ import annotations

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.training.settings import TrainingSettings

TRAINING_BYTES_PER_PARAMETER = 16.0
"""Float32 weights, gradients and AdamW's two moments."""
MEASURING_BYTES_PER_PARAMETER = 8.0
"""The measured model, and one that an attack changes."""
PROCESS_GIB = 1.2
"""What a process holds without a model: libraries, data."""


def trial_gib(job: SweepJob, parameters: int | None) -> float | None:
    """Return the memory (GiB) of one trial: its measuring process and its training workers; None if unknown."""
    if parameters is None:
        return None
    workers, gib = job.training.workers, parameters / 2**30
    if not workers:
        return PROCESS_GIB + TRAINING_BYTES_PER_PARAMETER * gib
    trained = workers * _worker_bytes(job.training) + MEASURING_BYTES_PER_PARAMETER
    return (1 + workers) * PROCESS_GIB + trained * gib


def _worker_bytes(training: TrainingSettings) -> float:
    """Return the bytes that a training worker holds for each parameter; ZeRO's stages share some of them."""
    if training.backend == "torch":
        return TRAINING_BYTES_PER_PARAMETER
    weights, gradients, optimizer = 4.0, 4.0, 12.0  # the optimizer has its own copy of the weights
    parts = ((weights, 3), (gradients, 2), (optimizer, 1))
    return sum(size / (training.workers if training.zero >= stage else 1) for size, stage in parts)
