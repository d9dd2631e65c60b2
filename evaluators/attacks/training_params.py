"""Parameters that every attack that trains has."""

from __future__ import annotations

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackWork, Steps, WeightsParams, curve

TRAINS_ELSEWHERE = frozenset({"relearn", "finetune"})
"""Attacks whose training can run apart from their measuring: they have `params` of the kind below, and `examples`."""
TRAINS_TOKENS_ELSEWHERE = frozenset({"soft_prompt"})
"""Attacks that train soft tokens and no weight, apart from their measuring too."""


class TrainingParams(WeightsParams):
    """What every attack that trains has in common. The curve is one run: states are taken from it on the way."""

    steps: Steps | list[Steps] = Field(default=[5, 20, 100], description="optimizer steps after which a state is taken")
    learning_rate: float = Field(default=2e-5, ge=0, le=1, allow_inf_nan=False, description="constant AdamW rate")
    batch_size: int = Field(default=4, ge=1, description="sequences a step")
    warmup: bool = Field(default=True, description="linear warm-up over the first max(1, last step / 10) steps")
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="decoupled weight decay")
    lora_rank: int = Field(
        default=0, ge=0, description="rank of LoRA on every linear layer but the head; 0: all weights"
    )
    lora_alpha: int = Field(default=16, ge=1, description="LoRA scale: update times alpha / rank")

    @model_validator(mode="after")
    def _check_steps(self) -> TrainingParams:
        curve(self.steps, name="steps")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.steps, name="steps")

    @property
    def strongest(self) -> float | None:
        return self.curve[-1]

    def work(self) -> AttackWork:
        steps = self.curve[-1]
        return AttackWork(steps=steps, trained_rows=steps * self.batch_size, read_rows=0, states=len(self.curve))
