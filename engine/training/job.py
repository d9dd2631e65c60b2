"""What one training is told, and what it answers: both plain JSON, so a job runs in any process or on any machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Decay = Literal["linear", "cosine", "constant"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Choice(BaseModel):
    """One entry of a catalog and its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)


class LoraSettings(BaseModel):
    """Adapters B A * alpha / rank on the linear layers of every block, or of its attention only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=8, ge=1, description="rank of the adapters")
    alpha: float = Field(default=16.0, gt=0, description="their scale is alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout before the adapters")
    targets: Literal["all", "attention"] = Field(default="all", description="linear layers that get one")


class TrainJob(BaseModel):
    """One training: from a model folder to a model folder. Everything that changes the weights is in here.

    `epochs` are passes over the forget view, or over view "train" where the method reads that; give `epochs` or
    `max_steps`. `global_batch_size` and `micro_batch_size` are rows of each view: a step of a method that reads forget
    and retain rows sees twice as many; a rank takes its share in micro-batches. `train_groups` names the
    benchmark's views that make view "train".
    `checkpoint_dir`: where a training that is under way is saved about every `checkpoint_every_s`; one that is found
    there is taken up again. None: a killed training begins anew.
    `teacher_model`: the folder of the model that `needs().teacher` of the method asks for.
    `loss_cap` (nats a token, default 2 ln V) stops a run whose forget cross-entropy has left every meaningful range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    start_model: str = Field(min_length=1)
    output_dir: str = Field(min_length=1)
    benchmark: Choice
    method: Choice
    learning_rate: Positive
    epochs: Positive | None = None
    max_steps: Count | None = None
    global_batch_size: Count = 32
    micro_batch_size: Count | None = None
    backend: Literal["torch", "deepspeed"] = "torch"
    zero_stage: int = Field(default=2, ge=0, le=3)
    seed: int = Field(default=0, ge=0)
    warmup_share: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    decay: Decay = "linear"
    gradient_clip: Positive | None = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    adam_epsilon: Positive = 1e-8
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    attention: Literal["auto", "flash_attention_2", "sdpa", "eager"] = "auto"
    threads: Count | None = None
    train_groups: tuple[str, ...] = ("forget", "retain")
    loss_cap: Positive | None = None
    activation_checkpointing: bool = False
    max_tokens: int = Field(default=512, ge=2)
    lora: LoraSettings | None = None
    teacher_model: str | None = None
    checkpoint_dir: str | None = None
    checkpoint_every_s: float = Field(default=600.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.epochs is None) == (self.max_steps is None):
            given = f"epochs={self.epochs}, max_steps={self.max_steps}"
            raise ValueError(f"give epochs or max_steps, one of the two; got {given}")
        if any(not 0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: both must be at least 0 and below 1; got {self.betas}")
        if not self.train_groups or len(set(self.train_groups)) != len(self.train_groups):
            raise ValueError(f"train_groups: one or more views, each once; got {list(self.train_groups)}")
        return self

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """A job from plain JSON values (lists for tuples)."""
        return cls.model_validate_json(json.dumps(dict(values)))


class TrainOutcome(BaseModel):
    """What a training did. Loss values are means over the global batch, equal on every rank; None where not finite.

    `terms` are the last values recorded, `curve` at most 200 points {"step": ..., term name: value, ...}. Beside the
    method's terms stands "forget_cross_entropy" (or "train_cross_entropy"), nats a token, where it reads such a view.
    `resumed_at_step`: where it was taken up after a kill; 0 where it ran in one go. `tokens` counts what went through
    the trained model, prompts in and padding out. `seconds` covers the steps, `reference_seconds` what the frozen start
    model took before them. `peak_memory_mib` is the allocator's peak on a GPU and, on a CPU, the process's highest
    resident size seen during the steps.
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
    parameters: int
    peak_memory_mib: float
    world_size: int
    backend: str
    dtype: str
    global_batch_rows: int
    mean_answer_tokens: float
    conventions: dict[str, str]
