"""Ray Train around one training: TorchTrainer with N workers, or its local mode in this process (workers: 0)."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.resources.memory_shortage import shortage_told
from unlearn_sweep.engine.stages.runner import ProcessLostError
from unlearn_sweep.engine.stages.time_limit import over_time_reason
from unlearn_sweep.engine.training.job import TrainJob, TrainOutcome
from unlearn_sweep.engine.training.settings import Workers

CONTROLLER_RETRIES = 3
BROKEN_LINK = ("DistNetworkError", "DistBackendError", "ConnectionError", "ConnectionResetError", "BrokenPipeError")
BROKEN_LINK_TEXTS = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe")


def worker_loop(config: dict[str, Any]) -> dict[str, Any]:
    """What each training worker runs. Results travel by return value: rank 0's is the trainer's."""
    from unlearn_sweep.engine.training.worker import run_worker

    with time_limit(config["limit_s"], over_time_mark(config["job"]["output_dir"])):
        return run_worker(config["job"])


@contextlib.contextmanager
def time_limit(limit_s: float | None, mark: Path) -> Iterator[None]:
    """End this process where the block takes longer, leaving `mark`; None lets it take its time.

    A training that hangs does so inside a collective operation, where no error reaches it, so the process has to go.
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
    """Where a worker that ends for its time says so: in the stage's own scratch folder."""
    return Path(output_dir).with_name("over_time")


def fit(job: TrainJob, *, name: str, storage: Path, workers: Workers, limit_s: float | None = None) -> TrainOutcome:
    """Train to the end and return the outcome; weights are in `job.output_dir`.

    Workers are not started again here: the stage is, by its runner, from the last checkpoint of the training. So an
    error of the training itself is not tried three times, and a lost machine is counted. `name` says what it is in
    Ray's dashboard; Ray Train resumes a run of the same name, so each call gets one of its own. A placement that
    cannot be had is retried a few times and then raises, rather than waiting for ever. `limit_s` is for the training
    itself, from when its workers are there; in local mode it is the caller's to keep.

    Raises ProcessLostError where a worker, its machine or the controller died, TimeoutError after `limit_s`.
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
            name=f"{name}-{secrets.token_hex(3)}",
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
    """What was lost, where a training failed for that reason; None where the training itself is at fault.

    When one rank dies, the others see their connection to it break, often before anybody knows of the death: where
    every rank that failed saw just that, it counts as a loss too.
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
            f"training worker {rank} lost its connection to another: {_first_line(failure)}"
            for rank, failure in failures.items()
        ]
    return "; ".join(found) or None


def _told(error: BaseException) -> str:
    return shortage_told(error) or _first_line(error)


def _for_memory(error: BaseException) -> str:
    told = shortage_told(error)
    return f": {told}" if told else ""


def _is_broken_link(error: Exception) -> bool:
    cause = getattr(error, "cause", None) or error
    names: Iterable[str] = (kind.__name__ for kind in type(cause).__mro__)
    return any(name in BROKEN_LINK for name in names) or any(text in str(cause) for text in BROKEN_LINK_TEXTS)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
