"""Parameters of `few_shot` and of `in_context`, which differ in their defaults only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, Count, curve, work_without_training


class FewShotParams(AttackParams):
    """Demonstrations of forgotten facts before the question."""

    shots: Count | list[Count] = Field(default=[1, 5, 10], description="question-answer pairs before the question")
    demonstrations: Literal["forget", "retain"] = Field(
        default="forget", description="where pairs come from: the relearn half of the forget facts, or the retain set"
    )

    @model_validator(mode="after")
    def _check_shots(self) -> FewShotParams:
        curve(self.shots, name="shots")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.shots, name="shots")

    @property
    def strongest(self) -> float | None:
        return self.curve[-1]

    @property
    def forget_facts(self) -> int:
        """One more than is shown: a row whose own fact is a demonstration is shown another."""
        return max(self.curve) + 1 if self.demonstrations == "forget" else 0

    def work(self) -> AttackWork:
        return work_without_training(states=len(self.curve))


class InContextParams(FewShotParams):
    """Demonstrations that have nothing to do with the forgotten facts: in-context retain."""

    shots: Count | list[Count] = Field(default=[3], description="question-answer pairs before the question")
    demonstrations: Literal["forget", "retain"] = Field(
        default="retain", description="where pairs come from: the relearn half of the forget facts, or the retain set"
    )
