"""Create start models, and measure and attack models, in one long-lived process: a Ray actor, a test or an audit.

Each kind of work has its own module, because the key of a stage covers only the code of its own work.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.stages.attack_run import AttackRequest, run_attack
from unlearn_sweep.engine.stages.measurement import Bench, MeasureRequest
from unlearn_sweep.engine.store.outcomes import AttackOutcome
from unlearn_sweep.engine.store.stages import check_stored_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class StartRequest(BaseModel):
    """Create the start model of a recipe in the folder `output`."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    benchmark: dict[str, Any]
    recipe: dict[str, Any]
    output: str


class Workbench(Bench):
    """Runs measurements and attacks in one process. Not thread-safe: handle one request at a time, as an actor does."""

    def model(self, path: str, request: MeasureRequest) -> PreTrainedModel:
        """Return the model, from the cache if loaded.

        Raises:
            DamagedFileError: the files changed since the model's stage wrote them.
        """
        check_stored_weights(Path(path))
        return super().model(path, request)

    def start_model(self, request: StartRequest) -> None:
        """Create a new small model and its tokenizer, or copy the base model."""
        from unlearn_sweep.engine.models.start_model import create_start_model
        from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe

        create_start_model(self.benchmark(request.benchmark), TrainRecipe(**request.recipe), Path(request.output))

    def attack(self, request: AttackRequest) -> AttackOutcome:
        """Run an attack and measure its states. See `engine.stages.attack_run.run_attack`."""
        return run_attack(self, request)
