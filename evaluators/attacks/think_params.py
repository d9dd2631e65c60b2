"""Parameters of `think`."""

from __future__ import annotations

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, Count, curve, work_without_training
from unlearn_sweep.evaluators.thought_marks import ThoughtMarks


class ThinkParams(ThoughtMarks, AttackParams):
    """Asking with thinking enabled, and scoring what comes after the thoughts."""

    tokens: Count | list[Count] = Field(
        default=[128, 512],
        description="longest thought in tokens; a longer one is cut off and closed. 0: as the sweep asks",
    )
    thought: str | None = Field(
        default=None,
        description='a given thought instead, the same for every row: "" (none) or a sentence that cuts it short',
    )

    @model_validator(mode="after")
    def _check_tokens(self) -> ThinkParams:
        curve(self.tokens, name="tokens")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.tokens, name="tokens")

    @property
    def strongest(self) -> float | None:
        return self.curve[-1] if self.thought is None else None

    def work(self) -> AttackWork:
        if self.thought is not None:
            return work_without_training(states=1)
        return work_without_training(states=len(self.curve), written_tokens=max(self.curve))
