"""Executor without Ray: run every stage in this process. Used by tests and by audits of a single model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.stages.time_limit import time_limited
from unlearn_sweep.engine.stages.workbench import StartRequest, Workbench
from unlearn_sweep.engine.training.job import TrainJob, TrainOutcome


class InProcessExecutor:
    """Run stages on one workbench and train in a single process. Stages, keys and results equal those on a cluster.

    A stage that takes longer than `timeout_s` seconds raises TimeoutError. The workbench is then recreated, because an
    interrupted attack may have changed a loaded model. None: no limit.
    """

    def __init__(self, *, timeout_s: float | None = None) -> None:
        self._workbench = Workbench()
        self._timeout_s = timeout_s

    def start_model(self, request: StartRequest) -> None:
        with self._limited():
            self._workbench.start_model(request)

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome:
        from unlearn_sweep.engine.training.worker import run_worker

        with self._limited():
            return TrainOutcome.model_validate(run_worker(job.model_dump(mode="json")))

    def measure(self, request: MeasureRequest) -> dict[str, Any]:
        with self._limited():
            return self._workbench.measure(request)

    def attack(self, request: AttackRequest) -> dict[str, Any]:
        with self._limited():
            return self._workbench.attack(request)

    def make_room(self) -> None:
        self._workbench.make_room()

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        try:
            with time_limited(self._timeout_s):
                yield
        except TimeoutError:
            self._workbench = Workbench()
            raise
