"""Parameters of `prefill`."""

from __future__ import annotations

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, Count, curve, work_without_training


class PrefillParams(AttackParams):
    """Opening the answer for the model."""

    tokens: Count | list[Count] = Field(
        default=[1, 2, 4, 8], description="first gold answer tokens put into the prompt"
    )
    text: str | None = Field(
        default=None, min_length=1, description='an affirmative opening instead, "Sure, the answer is"'
    )

    @model_validator(mode="after")
    def _check_one(self) -> PrefillParams:
        curve(self.tokens, name="tokens")
        if self.text is not None and self.differs("tokens"):
            raise ValueError("give either tokens (gold answer tokens) or text (an affirmative opening), not both")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.tokens, name="tokens")

    @property
    def strongest(self) -> float | None:
        return self.curve[-1] if self.text is None else None

    def work(self) -> AttackWork:
        return work_without_training(states=len(self.curve) if self.text is None else 1)
