"""Parameters of `prune`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackWork, WeightsParams, work_without_training

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class PruneParams(WeightsParams):
    """Set-difference pruning."""

    forget_percent: list[Percent] = Field(
        default=[0.5, 1.0, 2.5, 5.0, 7.5],
        min_length=1,
        description="share of each matrix that counts as important for the forget answers, in percent",
    )
    utility_percent: Percent = Field(default=7.5, description="share that counts as important for utility, and is kept")
    samples: int = Field(default=128, ge=1, description="forget and utility answers scored at most, each")

    @model_validator(mode="after")
    def _check_percents(self) -> PruneParams:
        if list(self.forget_percent) != sorted(set(self.forget_percent)):
            raise ValueError(
                f"forget_percent must strictly rise, weak to strong; got {self.forget_percent}, "
                f"try {sorted(set(self.forget_percent))}"
            )
        if self.forget_percent[-1] > self.utility_percent:
            raise ValueError(
                f"utility_percent ({self.utility_percent:g}) must be at least the largest forget_percent "
                f"({self.forget_percent[-1]:g}), so that what both need is kept"
            )
        return self

    @property
    def forget_facts(self) -> int:
        return 1

    def work(self) -> AttackWork:
        return work_without_training(states=len(self.forget_percent), read_rows=2 * self.samples)
