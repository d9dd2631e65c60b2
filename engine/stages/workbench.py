"""One warm process that makes start models, measures models and attacks them: what a Ray actor or a test runs.

Each kind of work is a module of its own, since what a stage is named by is the code of its own work only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.stages.attack_run import AttackRequest, run_attack
from unlearn_sweep.engine.stages.measurement import Bench, MeasureRequest
from unlearn_sweep.engine.store.stages import check_stored_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class StartRequest(BaseModel):
    """Make the model a recipe starts from, in folder `output`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: dict[str, Any]
    recipe: dict[str, Any]
    output: str


class Workbench(Bench):
    """One process that measures. Not thread-safe: one request at a time, which is what an actor does anyway."""

    def model(self, path: str, request: MeasureRequest) -> PreTrainedModel:
        """The model, loaded once. Raises DamagedFileError where its files are not as its stage left them."""
        check_stored_weights(Path(path))
        return super().model(path, request)

    def start_model(self, request: StartRequest) -> None:
        """A new small model and its tokenizer, or a copy of the base model."""
        from unlearn_sweep.engine.models import create_start_model
        from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe

        create_start_model(self.benchmark(request.benchmark), TrainRecipe(**request.recipe), Path(request.output))

    def attack(self, request: AttackRequest) -> dict[str, Any]:
        """The attack's strength curve: per-row metrics at each strength, and the attack's own notes."""
        return run_attack(self, request)
