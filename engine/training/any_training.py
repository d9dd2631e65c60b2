"""Run whatever training a job asks for: a method's or an attack's.

No stage's code begins here, so that neither what attacks compute with nor probes are part of what methods compute with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.evaluators.attacks.training_params import TRAINS_TOKENS_ELSEWHERE
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark


def run_any_training(task: TrainJob, *, benchmark: Benchmark | None = None) -> TrainOutcome:
    """Run a training, as `run_training` or `train_attack`. Every rank must call this."""
    if task.attack is not None and task.attack.name in TRAINS_TOKENS_ELSEWHERE:
        from unlearn_sweep.engine.training.soft_prompt_training import train_soft_prompt

        return train_soft_prompt(task, benchmark=benchmark)
    if task.attack is not None:
        from unlearn_sweep.engine.training.attack_training import train_attack

        return train_attack(task, benchmark=benchmark)
    from unlearn_sweep.engine.training.probes import watcher_of
    from unlearn_sweep.engine.training.worker import run_training

    return run_training(task, benchmark=benchmark, watch=watcher_of)


def run_any_worker(job: Mapping[str, Any], *, benchmark: Benchmark | None = None) -> dict[str, Any]:
    """Run a training whose job and outcome cross a process boundary: both are JSON."""
    return run_any_training(TrainJob.from_json(job), benchmark=benchmark).model_dump(mode="json")
