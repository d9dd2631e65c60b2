"""All training options, in one model.

The `training` section of a sweep file, `SweepJob.training` and `TrainJob.training` all use this model. An option added
here is therefore also part of the file, its JSON Schema, the stage keys and the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator

from unlearn_sweep.engine.optimizers.catalog import SECTIONS, OptimizerName
from unlearn_sweep.engine.optimizers.lion import LionSettings
from unlearn_sweep.engine.optimizers.sign_sgd import SignSgdSettings
from unlearn_sweep.engine.optimizers.sophia import SophiaSettings
from unlearn_sweep.engine.optimizers.zeroth_order import ZerothOrderSettings
from unlearn_sweep.engine.settings import Count, Resources, Settings, resources_of, rule
from unlearn_sweep.methods.logit_sizes import Logits

Backend = Literal["torch", "deepspeed"]
AttackTraining = Literal["auto", "workers", "measuring"]
MeasuringWorkers = Literal["auto"] | Count
Decay = Literal["linear", "cosine", "constant"]

Share = Annotated[float, Field(gt=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]

DEFAULT_EPOCHS = 5.0
DEFAULT_ZERO_STAGE = 2
CHANGES_NO_WEIGHTS = frozenset(
    {"workers", "resources_per_worker", "checkpoint_every_s", "offload", "checkpoints", "logits"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Training processes of one trial and the Ray resources of each. `count` 0 trains in the trial's own process."""

    count: int = 0
    resources: dict[str, float] = field(default_factory=lambda: {"CPU": 1.0})


class LoraSettings(Settings):
    """Low-rank adapters, merged at the end. They need a learning rate about ten times that of full training."""

    rank: Count = Field(default=8, description="rank of the adapters")
    alpha: float = Field(default=16.0, gt=0, description="their scale is alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout before the adapters")
    targets: Literal["all", "attention", "query_value"] = Field(
        default="all", description="linear layers that get one; query_value: as the LoRA paper and RWKU"
    )
    layers: Literal["all", "lower", "upper"] = Field(
        default="all", description="blocks that get one: all that the method trains, or their lower or upper half"
    )


class TrainingSettings(Settings):
    """How a trial trains. Learning rate and loss weights are parameters of the methods.

    `epochs`, `max_steps` and `zero_stage` may be omitted; `resolved` fills in their defaults. Every field except those
    in `CHANGES_NO_WEIGHTS` affects the trained weights.
    """

    epochs: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="passes over the forget set, for methods that do not name epochs themselves; left out: 5",
    )
    max_steps: Count | None = Field(default=None, description="optimizer steps, in place of epochs")
    global_batch_size: Count = Field(default=32, description="forget rows per step, over all workers")
    micro_batch_size: Count | None = Field(
        default=None, description="rows one worker holds in one pass; left out: its share"
    )
    backend: Backend = Field(default="torch", description="torch, or the DeepSpeed engine with ZeRO")
    zero_stage: Literal[0, 1, 2, 3] | None = Field(default=None, description="ZeRO stage of deepspeed; left out: 2")
    offload: Literal["none", "optimizer", "all"] = Field(
        default="none",
        description="what ZeRO keeps in the CPU's memory: optimizer (stages 1 to 3), or all, weights too (stage 3)",
    )
    workers: int = Field(
        default=0, ge=0, le=100_000, description="training processes of a trial; 0 trains inside the trial"
    )
    resources_per_worker: Resources = Field(
        default="auto",
        description="Ray resources of one worker: CPU, GPU, a custom name; auto: a GPU if there is one",
    )
    lion: LionSettings = Field(default=LionSettings(), description="settings of optimizer lion")
    sophia: SophiaSettings = Field(default=SophiaSettings(), description="settings of optimizer sophia")
    sign_sgd: SignSgdSettings = Field(default=SignSgdSettings(), description="settings of optimizer sign_sgd")
    zeroth_order: ZerothOrderSettings = Field(
        default=ZerothOrderSettings(), description="settings of optimizer zeroth_order"
    )
    optimizer: OptimizerName = Field(
        default="adamw",
        description="adamw, lion, sophia (diagonal Hessian), sign_sgd, or zeroth_order (forward passes only)",
    )
    retain_rows: Count | None = Field(
        default=None, description="retain rows that a training draws from, chosen by the seed; left out: all"
    )
    gradient_clip: float | None = Field(default=1.0, gt=0, description="largest gradient norm; null does not clip")
    warmup_share: float = Field(default=0.05, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(default=0.01, ge=0, description="decoupled weight decay of matrices and embeddings")
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = Field(
        default=(0.9, 0.999), description="AdamW's decay rates of the two moments"
    )
    adam_epsilon: float = Field(default=1e-8, gt=0, description="AdamW's term that keeps the division finite")
    decay: Decay = Field(default="linear", description="learning rate after the warm-up")
    activation_checkpointing: bool = Field(default=False, description="less memory for about a third more time")
    logits: Logits = Field(
        default="auto",
        description="chunks: a loss computes logits a few rows at a time and again backward, and never holds them "
        "whole; auto: where they are large",
    )
    checkpoint_every_s: float = Field(
        default=600.0, ge=0, description="seconds between checkpoints of a training; a killed one resumes from its last"
    )
    checkpoints: Literal["each_epoch"] | Annotated[tuple[Share, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None,
        description="shares of a training at which its weights are measured too, [0.5, 1], or each_epoch; left out: "
        "at its end",
    )
    lora: LoraSettings | None = Field(
        default=None, description="train adapters instead of all weights, merged at the end; left out: all weights"
    )

    @field_validator("max_steps")
    @classmethod
    def _one_length(cls, steps: int | None, info: ValidationInfo) -> int | None:
        if steps is not None and info.data.get("epochs") is not None:
            raise rule("max_steps beside epochs", allowed="epochs or max_steps, not both", advice="remove one of them")
        return steps

    @field_validator("checkpoints")
    @classmethod
    def _shares_in_order(
        cls, shares: str | tuple[float, ...] | None, info: ValidationInfo
    ) -> str | tuple[float, ...] | None:
        if shares == "each_epoch" and info.data.get("max_steps") is not None:
            message = "max_steps counts no epochs after which a training could be measured"
            raise rule(message, allowed="shares of the training: [0.5, 1]", advice="write shares, or epochs")
        if isinstance(shares, tuple) and (list(shares) != sorted(set(shares)) or shares[-1] != 1):
            raise rule("not shares in rising order up to the end", allowed="[0.5, 1]: each once, the last one 1")
        return shares

    @field_validator("zero_stage")
    @classmethod
    def _zero_needs_deepspeed(cls, stage: int | None, info: ValidationInfo) -> int | None:
        if stage is not None and info.data.get("backend") == "torch":
            message = "ZeRO belongs to the deepspeed backend, and the backend is torch"
            raise rule(message, advice="write backend: deepspeed, or remove it")
        return stage

    @field_validator("offload")
    @classmethod
    def _offload_needs_zero(cls, offload: str, info: ValidationInfo) -> str:
        if offload == "none":
            return offload
        if info.data.get("backend") == "torch":
            message = "offloading belongs to the deepspeed backend, and the backend is torch"
            raise rule(message, advice="write backend: deepspeed, or remove it")
        stage = info.data.get("zero_stage")
        least = 3 if offload == "all" else 1
        if (DEFAULT_ZERO_STAGE if stage is None else stage) < least:
            raise rule(f"offload: {offload} below ZeRO stage {least}", advice=f"write zero_stage: {least}")
        return offload

    @field_validator("optimizer")
    @classmethod
    def _optimizer_fits_the_backend(cls, name: OptimizerName, info: ValidationInfo) -> OptimizerName:
        if info.data.get("backend") != "deepspeed":
            return name
        if name == "zeroth_order":
            message = "zeroth_order makes no gradients, and ZeRO shares nothing else that it has"
            raise rule(message, allowed="adamw, lion, sophia, sign_sgd", advice="write backend: torch")
        sophia = info.data.get("sophia")
        if name == "sophia" and sophia is not None and sophia.curvature == "gauss_newton":
            message = "sophia's gauss_newton curvature needs a second gradient, which DeepSpeed's engine does not give"
            raise rule(message, advice="write sophia: {curvature: gradient}, or backend: torch")
        return name

    def resolved(self) -> Self:
        """Return these settings with defaults for `epochs` (unless `max_steps` is set) and deepspeed's `zero_stage`."""
        epochs = None if self.max_steps is not None else self.epochs or DEFAULT_EPOCHS
        stage = self.zero if self.backend == "deepspeed" else None
        return self.model_copy(update={"epochs": epochs, "zero_stage": stage})

    def lasting(self, epochs: float) -> Self:
        """Return these settings with `epochs` passes, replacing `epochs` and `max_steps`."""
        return self.model_copy(update={"epochs": float(epochs), "max_steps": None})

    def with_values(self, values: Mapping[str, object]) -> Self:
        """Return these settings with other values, named as in the file; `lora.rank` is the rank of `lora`.

        Raises:
            ValueError: a value is not allowed, or there is no such setting.
        """
        if not values:
            return self
        content = self.model_dump()
        for name, value in values.items():
            section, _, own = name.rpartition(".")
            place = content[section] if section else content
            if not isinstance(place, dict) or own not in place:
                raise ValueError(f"training has no setting {name!r} here")
            place[own] = value
        return type(self).model_validate(content)

    @property
    def zero(self) -> int:
        """ZeRO stage, 0 to 3; 0 for the torch backend."""
        if self.backend == "torch":
            return 0
        return DEFAULT_ZERO_STAGE if self.zero_stage is None else self.zero_stage

    @property
    def worker_group(self) -> Workers:
        """The training processes of one trial. `auto` resources count as those of a machine without GPUs."""
        return Workers(count=self.workers, resources=resources_of(self.resources_per_worker, {}))

    def resources_on(
        self, capacity: Mapping[str, float], evaluation: Resources, measuring_workers: MeasuringWorkers = "auto"
    ) -> tuple[Workers, dict[str, float]]:
        """Return the training workers and the resources of measuring on a machine of this capacity.

        Those of measuring are for all its workers together. Without training workers, the measuring process trains:
        `auto` then stands for its resources.
        """
        measuring = resources_of(evaluation, capacity, 1 if measuring_workers == "auto" else measuring_workers)
        alone = self.workers == 0 and self.resources_per_worker == "auto"
        each = measuring if alone else resources_of(self.resources_per_worker, capacity)
        return Workers(count=self.workers, resources=each), measuring

    def identity(self) -> dict[str, object]:
        """Return the settings that affect the trained weights, as plain JSON, for stage keys.

        Settings of optimizers that are not in use are left out, and AdamW is not named, nor are
        all retain rows and adapters in all layers, as before there was a choice.
        """
        unused = {name for name in SECTIONS if name != self.optimizer}
        unused |= {"retain_rows"} if self.retain_rows is None else set()
        unused |= {"optimizer"} if self.optimizer == "adamw" else {"betas", "adam_epsilon"}
        content = self.resolved().model_dump(mode="json", exclude={*CHANGES_NO_WEIGHTS, *unused})
        if self.lora is not None and self.lora.layers == "all":
            del content["lora"]["layers"]
        return content
