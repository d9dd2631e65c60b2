"""Parameters of `think`."""

from __future__ import annotations

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, Count, curve, work_without_training

ENABLE_THINKING = "enable_thinking"


class ThinkParams(AttackParams):
    """Asking with thinking enabled, and scoring what comes after the thoughts."""

    tokens: Count | list[Count] = Field(
        default=[128, 512], description="longest thought in tokens; a longer one is cut off and closed. 0: no thinking"
    )
    argument: str = Field(
        default=ENABLE_THINKING, min_length=1, description="argument of the chat template that enables thinking"
    )
    begin: str = Field(default="<think>", min_length=1, description="text that begins a thought")
    end: str = Field(default="</think>", min_length=1, description="text that ends a thought")

    @model_validator(mode="after")
    def _check_tokens(self) -> ThinkParams:
        curve(self.tokens, name="tokens")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.tokens, name="tokens")

    def work(self) -> AttackWork:
        return work_without_training(states=len(self.curve))
