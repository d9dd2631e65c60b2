"""Executor without Ray: run every stage in this process. Used by tests and by audits of a single model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.stages.prompt_probe import ProbeResult
from unlearn_sweep.engine.stages.time_limit import time_limited
from unlearn_sweep.engine.stages.workbench import StartRequest, Workbench
from unlearn_sweep.engine.store.outcomes import AttackOutcome, MeasureOutcome, TrainOutcome
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.restart import trained_where_it_fits
from unlearn_sweep.engine.zero.accelerator import accelerator_environment


class InProcessExecutor:
    """Run stages on one workbench and train in a single process. Stages, keys and results equal those on a cluster.

    A stage that takes longer than `timeout_s` seconds raises TimeoutError. The workbench is then recreated, because an
    interrupted attack may have changed a loaded model. None: no limit.
    """

    def __init__(self, *, timeout_s: float | None = None) -> None:
        for name, value in accelerator_environment().items():  # else DeepSpeed prints where a library imports it
            os.environ.setdefault(name, value)
        self._workbench = Workbench()
        self._timeout_s = timeout_s

    def start_model(self, request: StartRequest) -> None:
        with self._limited():
            self._workbench.start_model(request)

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome:
        from unlearn_sweep.engine.training.any_training import run_any_training

        with self._limited():
            return trained_where_it_fits(job, run_any_training)

    def measure(self, request: MeasureRequest) -> MeasureOutcome:
        with self._limited():
            return self._workbench.measure(request)

    def probe(self, request: MeasureRequest) -> ProbeResult:
        with self._limited():
            return self._workbench.probe(request)

    def attack(self, request: AttackRequest) -> AttackOutcome:
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
            self._workbench.close()
            self._workbench = Workbench()
            raise
