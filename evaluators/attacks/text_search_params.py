"""Parameters that the searches for a text of ordinary tokens have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, Steps, curve


class TextSearchParams(AttackParams):
    """What the searches for a text of ordinary tokens have in common."""

    steps: Steps | list[Steps] = Field(default=[250], description="searches after which a state is taken")
    place: Literal["prefix", "suffix"] = Field(
        default="suffix", description="whether the text stands before or behind every question"
    )
    prompts: Annotated[int, Field(ge=1)] | list[Annotated[int, Field(ge=0)]] = Field(
        default=5,
        description="judged questions that the text is searched on, all at once: so many, drawn by seed, or a list of "
        "places among the attacker's questions, from 0 in the benchmark's order",
    )
    target: Literal["answer", "original"] = Field(
        default="answer", description="whose answer is made likely: the reference, or the original model's greedy one"
    )
    target_tokens: int = Field(default=10, ge=1, description="first tokens of that answer whose likelihood is raised")
    ascii_only: bool = Field(default=True, description="only printable ASCII tokens")
    batch_tokens: int = Field(default=16384, ge=1, description="tokens scored at a time")

    @model_validator(mode="after")
    def _check_steps(self) -> TextSearchParams:
        curve(self.steps, name="steps")
        if isinstance(self.prompts, list) and (not self.prompts or len(set(self.prompts)) < len(self.prompts)):
            raise ValueError(f"prompts must name at least one question and each of them once; got {self.prompts}")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.steps, name="steps")

    @property
    def strongest(self) -> float | None:
        return self.curve[-1]

    @property
    def asked(self) -> int:
        """How many questions the text is searched on."""
        return self.prompts if isinstance(self.prompts, int) else len(self.prompts)

    @property
    def forget_facts(self) -> int:
        return self.prompts if isinstance(self.prompts, int) else max(self.prompts) + 1

    @property
    def facts_are_judged(self) -> bool:
        return True

    def searched(self, *, width: int, models: int) -> AttackWork:
        """Return the work of a search that scores `width` candidates a step on each prompt, through `models` models."""
        steps = self.curve[-1]
        rows = steps * self.asked * models
        return AttackWork(steps=steps, trained_rows=rows, read_rows=rows * width, states=len(self.curve))
