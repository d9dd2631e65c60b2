"""Parameters of `finetune`."""

from __future__ import annotations

from pydantic import Field

from unlearn_sweep.evaluators.attacks.attack_params import Steps
from unlearn_sweep.evaluators.attacks.training_params import TrainingParams
from unlearn_sweep.evaluators.benchmarks.task_settings import TaskDataSettings


class FinetuneParams(TrainingParams, TaskDataSettings):
    """Out-of-domain fine-tuning."""

    steps: Steps | list[Steps] = Field(default=[250], description="optimizer steps after which a state is taken")
    batch_size: int = Field(default=32, ge=1, description="sequences a step")
    max_tokens: int | None = Field(
        default=None, ge=2, description="tokens of a question with its answer, cut beyond; None: the benchmark's limit"
    )
