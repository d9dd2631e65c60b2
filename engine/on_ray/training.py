"""Run one training with Ray Train: TorchTrainer with N workers, or local mode in this process (0 workers)."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.out_of_memory import shortage_message
from unlearn_sweep.engine.privacy.error_text import first_line
from unlearn_sweep.engine.process_lost import ProcessLostError
from unlearn_sweep.engine.stages.runner import running_stage
from unlearn_sweep.engine.stages.time_limit import over_time_reason
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.settings import Workers

CONTROLLER_RETRIES = 3
BROKEN_LINK = ("DistNetworkError", "DistBackendError", "ConnectionError", "ConnectionResetError", "BrokenPipeError")
BROKEN_LINK_TEXTS = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe")


def worker_loop(config: dict[str, Any]) -> dict[str, Any]:
    """Run one training worker. The return value of rank 0 becomes the trainer's result."""
    from unlearn_sweep.engine.training.any_training import run_any_worker

    with time_limit(config["limit_s"], over_time_mark(config["job"]["output_dir"])):
        return run_any_worker(config["job"])


@contextlib.contextmanager
def time_limit(limit_s: float | None, mark: Path) -> Iterator[None]:
    """Create `mark` and exit this process if the block takes longer than `limit_s` seconds. None means no limit.

    A hung training is blocked in a collective operation, which no exception can interrupt, so the process must exit.
    """
    if limit_s is None:
        yield
        return

    def end() -> None:
        mark.touch()
        os._exit(1)

    clock = threading.Timer(limit_s, end)
    clock.daemon = True
    clock.start()
    try:
        yield
    finally:
        clock.cancel()


def over_time_mark(output_dir: str) -> Path:
    """Return the path of the file that marks a timed-out worker, next to `output_dir` in the stage's scratch folder."""
    return Path(output_dir).with_name("over_time")


def fit(job: TrainJob, *, name: str, storage: Path, workers: Workers, limit_s: float | None = None) -> TrainOutcome:
    """Train to the end and return the outcome; weights are in `job.output_dir`.

    Ray Train does not restart workers: the runner retries the stage from the last checkpoint if a process was lost.
    Errors of the training itself are thus not retried by Ray, and lost machines are counted. If the workers cannot be
    placed, Ray Train retries a few times and then raises, rather than waiting forever.

    Args:
        job: The training to run.
        name: Label in Ray's dashboard where no stage runs in this thread. A random suffix is added, since Ray Train
            resumes a run of the same name.
        storage: Folder for Ray Train's files.
        workers: Number of workers and resources of each; 0 trains in this process.
        limit_s: Time limit in seconds from the start of the workers. The caller must enforce it in local mode.

    Raises:
        ProcessLostError: if a worker, its machine or the controller died.
        TimeoutError: if the training took longer than `limit_s`.
    """
    from ray.exceptions import RayError
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    config = {"job": job.model_dump(mode="json"), "limit_s": limit_s if workers.count else None}
    if workers.count == 0:
        result = TorchTrainer(worker_loop, train_loop_config=config, scaling_config=ScalingConfig(num_workers=0)).fit()
        return TrainOutcome.model_validate(result.return_value)
    trainer = TorchTrainer(
        worker_loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=workers.resources.get("GPU", 0) > 0,
            resources_per_worker=dict(workers.resources),
        ),
        run_config=RunConfig(
            name=f"{re.sub(r'[^A-Za-z0-9_.]+', '-', running_stage() or name)}-{secrets.token_hex(3)}",
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=CONTROLLER_RETRIES),
        ),
    )
    try:
        return TrainOutcome.model_validate(trainer.fit().return_value)
    except (TrainingFailedError, RayError) as error:
        if over_time_mark(job.output_dir).exists():
            raise TimeoutError(over_time_reason(limit_s)) from None
        if (reason := loss_behind(error)) is not None:
            raise ProcessLostError(reason) from None
        raise


def loss_behind(error: Exception) -> str | None:
    """Return which process was lost if that made a training fail, or None if the training itself failed.

    When one rank dies, the others see a broken connection, often before the death is reported. If every failed rank
    reports only a broken connection, this counts as a lost process too.
    """
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError
    from ray.train.v2.api.exceptions import PreemptionError

    gone = (
        *(RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError, PreemptionError),
        *(WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError),
    )
    failures = getattr(error, "worker_failures", None)
    if failures is None:
        inner = getattr(error, "controller_failure", error)
        return f"the training's controller was lost: {_told(inner)}" if isinstance(inner, gone) else None
    found = [
        f"training worker {rank} was lost{_for_memory(failure)}"
        for rank, failure in failures.items()
        if isinstance(failure, gone)
    ]
    if not found and all(_is_broken_link(failure) for failure in failures.values()):
        found = [
            f"training worker {rank} lost its connection to another: {first_line(failure)}"
            for rank, failure in failures.items()
        ]
    return "; ".join(found) or None


def _told(error: BaseException) -> str:
    return shortage_message(error) or first_line(error)


def _for_memory(error: BaseException) -> str:
    message = shortage_message(error)
    return f": {message}" if message else ""


def _is_broken_link(error: Exception) -> bool:
    cause = getattr(error, "cause", None) or error
    names: Iterable[str] = (kind.__name__ for kind in type(cause).__mro__)
    return any(name in BROKEN_LINK for name in names) or any(text in str(cause) for text in BROKEN_LINK_TEXTS)
