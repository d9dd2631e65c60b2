"""The request for one training and its outcome: both plain JSON, so a job runs in any process or on any machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from unlearn_sweep.engine.settings import Count
from unlearn_sweep.engine.training.settings import TrainingSettings

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Choice(BaseModel):
    """One entry of a catalog and its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)


class TrainJob(BaseModel):
    """One training: from a model folder to a model folder. Everything that changes the weights is in here.

    `training` says how it steps; its `epochs` are passes over the forget view, or over view "train" where the method
    reads that. Its batch sizes are rows of each view: a step of a method that reads forget and retain rows sees twice
    as many; a rank takes its share in micro-batches. `train_groups` names the benchmark's views that make view "train".
    `checkpoint_dir`: where a training under way is saved about every `training.checkpoint_every_s`; one that is found
    there is resumed. None: a killed training begins anew.
    `tokenizer`: its folder or hub id; None: the start model's own.
    `teacher_model`: the folder of the model that `needs().teacher` of the method asks for.
    `loss_cap` (nats a token, default 2 ln V) stops a run whose forget cross-entropy has left every meaningful range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    start_model: str = Field(min_length=1)
    output_dir: str = Field(min_length=1)
    benchmark: Choice
    method: Choice
    learning_rate: Positive
    training: TrainingSettings = TrainingSettings().resolved()
    seed: int = Field(default=0, ge=0)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    attention: Literal["auto", "flash_attention_2", "sdpa", "eager"] = "auto"
    threads: Count | None = None
    train_groups: tuple[str, ...] = ("forget", "retain")
    loss_cap: Positive | None = None
    max_tokens: int = Field(default=512, ge=2)
    tokenizer: str | None = Field(default=None, min_length=1)
    teacher_model: str | None = None
    checkpoint_dir: str | None = None

    @field_validator("training")
    @classmethod
    def _resolve(cls, training: TrainingSettings) -> TrainingSettings:
        return training.resolved()

    @field_validator("train_groups")
    @classmethod
    def _check_groups(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        if not groups or len(set(groups)) != len(groups):
            raise ValueError(f"train_groups: one or more views, each once; got {list(groups)}")
        return groups

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """A job from plain JSON values (lists for tuples)."""
        return cls.model_validate_json(json.dumps(dict(values)))


class TrainOutcome(BaseModel):
    """What a training did. Loss values are means over the global batch, equal on every rank; None where not finite.

    `terms` are the last values recorded, `curve` at most 200 points {"step": ..., term name: value, ...}. Beside the
    method's terms stands "forget_cross_entropy" (or "train_cross_entropy"), nats a token, where it reads such a view.
    `relative_change`: how far the weights moved, as a share of their length; None where nothing could be compared, and
    on ranks but the first. `resumed_at_step`: where it was taken up after a kill; 0 where it ran in one go. `tokens`
    counts what went through the trained model, prompts in and padding out. `seconds` covers the steps,
    `reference_seconds` what the frozen start model took before them. `peak_memory_mib` is the allocator's peak on a GPU
    and, on a CPU, the process's highest resident size seen during the steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int
    planned_steps: int
    resumed_at_step: int = 0
    epochs: float
    seconds: float
    reference_seconds: float
    tokens: int
    terms: dict[str, float | None]
    curve: list[dict[str, float | None]]
    stopped_early: Literal["diverged"] | None
    stop_reason: str | None
    weights_finite: bool
    relative_change: float | None = None
    parameters: int
    peak_memory_mib: float
    world_size: int
    backend: str
    dtype: str
    global_batch_rows: int
    mean_answer_tokens: float
    conventions: dict[str, str]
