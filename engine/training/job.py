"""A training's request and outcome. Both are plain JSON, so a job can run in any process or on any machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from unlearn_sweep.engine.settings import Count
from unlearn_sweep.engine.stopping.records import Probing
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.settings import TrainingSettings

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Choice(BaseModel):
    """A catalog entry by name, with its parameters."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)


class KeptAdapter(BaseModel):
    """The adapter of a finished LoRA training.

    Attributes:
        path: File of its weights.
        outcome: The outcome of that training.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    path: str = Field(min_length=1)
    outcome: TrainOutcome


class TrainJob(BaseModel):
    """One training, from a model folder to a model folder. Contains everything that affects the trained weights.

    Attributes:
        start_model: Folder or hub id of the model to train.
        output_dir: Folder for the trained model. It must not exist yet.
        benchmark: The data.
        method: The unlearning method.
        learning_rate: Peak learning rate.
        training: Steps, batches and backend. `epochs` are passes over the forget view, or over view "train" if the
            method reads it. Batch sizes are rows per view: a step of a method that reads forget and retain rows sees
            twice as many. Each rank processes its share in micro-batches.
        seed: Seed of batches, drawn answers, dropout and the method's random numbers.
        dtype: Number format to load the models in; "auto" is float32 on a CPU and bfloat16 on a GPU.
        attention: Attention implementation; "auto" is the fastest that the model supports on this machine.
        threads: torch's CPU threads; None leaves the number as it is.
        train_groups: The benchmark's views that make up view "train".
        loss_cap: Stop as diverged if the cross-entropy of view "train" or "forget" exceeds this, in nats per token;
            None is 2 ln V, with V vocabulary entries.
        max_tokens: Longest row in tokens, unless the benchmark's template has a limit.
        tokenizer: Folder or hub id; None uses the start model's.
        teacher_model: Folder of the teacher model, if `needs().teacher` of the method requires one.
        attack: An attack whose training this is, in place of a method's. `output_dir` gets a model for each state.
        stop_at: Share of the planned steps after which the training ends. The schedule is that of all of them.
        export_shares: Shares of the steps after which the weights are also written, below `export_dir`.
        export_dir: Folder for these: `<share>/model` and `<share>/outcome.json`.
        adapter_file: Where a training with LoRA also writes its adapter, for each exported share `<share>/<file name>`.
            None: nowhere.
        kept_adapter: Train nothing: make the model that this adapter belongs to.
        micro_rows: Most rows of a view that a rank holds in one pass, after an attempt that ran out of memory. Results
            change by rounding only; a method whose terms are means over micro-batches refuses it.
        probing: When to probe the model on the way, and by what to stop. None: it is not probed.
        checkpoint_dir: Folder for a checkpoint about every `training.checkpoint_every_s` seconds. A training with a
            checkpoint there resumes from it. None: write no checkpoints, so a killed training starts over.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)

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
    attack: Choice | None = None
    checkpoint_dir: str | None = None
    stop_at: float = Field(default=1.0, gt=0, le=1)
    export_shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    export_dir: str | None = None
    adapter_file: str | None = None
    kept_adapter: KeptAdapter | None = None
    micro_rows: Count | None = None
    probing: Probing | None = None

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
        """Create a job from plain JSON values (lists for tuples)."""
        return cls.model_validate_json(json.dumps(dict(values)))
