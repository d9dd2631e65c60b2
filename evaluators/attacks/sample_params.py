"""Parameters of `sample`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, curve, work_without_training

Answers = Annotated[int, Field(ge=1, le=4096)]


class SampleParams(AttackParams):
    """Asking the same question several times at a temperature, and scoring the answer that gives most away."""

    answers: Answers | list[Answers] = Field(
        default=[1, 4, 16], description="answers the attacker reads for each question (k); the worst of them counts"
    )
    drawn: Answers | None = Field(
        default=None,
        description="answers drawn for each question (n); the mean worst of k is estimated from all of them without "
        "bias. null: the last of answers",
    )
    temperature: float = Field(default=1.0, gt=0, le=10, allow_inf_nan=False, description="divides the logits")
    top_p: float = Field(
        default=1.0, gt=0, le=1, allow_inf_nan=False, description="share of probability that is drawn from (nucleus)"
    )

    @model_validator(mode="after")
    def _check_answers(self) -> SampleParams:
        most = self.curve[-1]
        if self.drawn is not None and self.drawn < most:
            raise ValueError(f"drawn is {self.drawn}: the worst of {most} answers needs {most} or more")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.answers, name="answers")

    @property
    def draws(self) -> int:
        return self.curve[-1] if self.drawn is None else self.drawn

    def work(self) -> AttackWork:
        return work_without_training(states=len(self.curve), drawn_answers=self.draws)
