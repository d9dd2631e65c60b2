"""The executor without Ray: every stage in this process. For tests, and for work on a single model (audit)."""

from __future__ import annotations

from typing import Any

from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.stages.workbench import StartRequest, Workbench
from unlearn_sweep.engine.training.job import TrainJob, TrainOutcome


class InProcessExecutor:
    """One workbench and single-process training; the same stages, keys and results as on a cluster."""

    def __init__(self) -> None:
        self._workbench = Workbench()

    def start_model(self, request: StartRequest) -> None:
        self._workbench.start_model(request)

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome:
        from unlearn_sweep.engine.training.worker import run_worker

        return TrainOutcome.model_validate(run_worker(job.model_dump(mode="json")))

    def measure(self, request: MeasureRequest) -> dict[str, Any]:
        return self._workbench.measure(request)

    def attack(self, request: AttackRequest) -> dict[str, Any]:
        return self._workbench.attack(request)

    def make_room(self) -> None:
        self._workbench.make_room()
