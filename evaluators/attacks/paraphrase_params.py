"""Parameters of `paraphrase`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, curve, work_without_training


class ParaphraseParams(AttackParams):
    """Other wordings of the same question."""

    source: Literal["own", "paraphrase", "alias", "multi_hop"] = Field(
        default="own",
        description="own: the row's paraphrase and the other questions of its fact; else the view of this kind that "
        "was written for the judged rows",
    )

    wordings: Annotated[int, Field(ge=1)] | list[Annotated[int, Field(ge=1)]] = Field(
        default=[1, 4], description="wordings tried a row; the one with the likeliest gold answer is asked"
    )

    @model_validator(mode="after")
    def _check_wordings(self) -> ParaphraseParams:
        curve(self.wordings, name="wordings")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.wordings, name="wordings")

    def work(self) -> AttackWork:
        """The wordings tried are left out: their number depends on the benchmark."""
        return work_without_training(states=len(self.curve))
