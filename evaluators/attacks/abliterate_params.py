"""Parameters of `abliterate`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unlearn_sweep.evaluators.attacks.attack_params import AttackParams, AttackWork, work_without_training


class AbliterateParams(AttackParams):
    """Taking one direction out of the residual stream."""

    reference: Literal["original", "retain"] = Field(
        default="retain",
        description="forget states are compared with the original model's, or with those on retain text",
    )
    where: Literal["activations", "weights"] = Field(
        default="activations",
        description="one direction a layer removed from block outputs, or the best single one removed from the weights",
    )
    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, min_length=1, description="layers whose direction is used, counted from 1; null: all"
    )
    samples: int = Field(default=256, ge=1, description="rows averaged over at most, each side")

    @property
    def leaves_plain_model(self) -> bool:
        return self.where == "weights"

    @property
    def forget_facts(self) -> int:
        return 1

    def work(self) -> AttackWork:
        return work_without_training(states=1, read_rows=2 * self.samples)
