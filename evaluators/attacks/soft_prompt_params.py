"""Parameters of `soft_prompt`."""

from __future__ import annotations

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, Count, curve


class SoftPromptParams(AttackParams):
    """A trained continuous prompt."""

    iterations: Count | list[Count] = Field(default=[20, 100], description="updates after which a state is taken")
    soft_tokens: int = Field(default=8, ge=1, le=256, description="trained embeddings in front of the question")
    step_size: float = Field(
        default=1e-3, gt=0, allow_inf_nan=False, description="signed-gradient step, in embedding units"
    )
    batch_size: int = Field(default=16, ge=1, description="rows an update")

    @model_validator(mode="after")
    def _check_iterations(self) -> SoftPromptParams:
        curve(self.iterations, name="iterations")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.iterations, name="iterations")

    @property
    def strongest(self) -> float | None:
        return self.curve[-1]

    @property
    def forget_facts(self) -> int:
        return 1

    @property
    def facts_are_judged(self) -> bool:
        return True

    def work(self) -> AttackWork:
        steps = self.curve[-1]
        return AttackWork(steps=steps, trained_rows=steps * self.batch_size, read_rows=0, states=len(self.curve))
