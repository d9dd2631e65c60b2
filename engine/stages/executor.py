"""The interface through which stages run their work: in this process, or on Ray."""

from __future__ import annotations

from typing import Protocol

from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.stages.prompt_probe import ProbeResult
from unlearn_sweep.engine.stages.workbench import StartRequest
from unlearn_sweep.engine.store.outcomes import AttackOutcome, MeasureOutcome, TrainOutcome
from unlearn_sweep.engine.training.job import TrainJob


class Executor(Protocol):
    """Runs the work of stages, in this process or on Ray."""

    def start_model(self, request: StartRequest) -> None: ...

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome: ...

    def measure(self, request: MeasureRequest) -> MeasureOutcome: ...

    def probe(self, request: MeasureRequest) -> ProbeResult: ...

    def attack(self, request: AttackRequest) -> AttackOutcome: ...

    def make_room(self) -> None:
        """Free the memory that processes of this sweep hold between stages. Called while no stage runs."""
        ...
