"""Parameters of `prune`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackWork, WeightsParams, work_without_training

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class PruneParams(WeightsParams):
    """Pruning by set difference, or without a look at what was forgotten."""

    by: Literal["set_difference", "magnitude", "wanda"] = Field(
        default="set_difference",
        description="weights that forget answers need and retained ones do not; the smallest ones; or the smallest "
        "times the norm of their input on retained answers",
    )
    percent: list[Percent] = Field(
        default=[10.0, 20.0, 30.0, 50.0],
        min_length=1,
        description="by magnitude or wanda: share set to zero, in percent: of each matrix, of each output's weights",
    )
    forget_percent: list[Percent] = Field(
        default=[0.5, 1.0, 2.5, 5.0, 7.5],
        min_length=1,
        description="by set difference: share of each matrix that is important for forget answers, in percent",
    )
    utility_percent: Percent = Field(default=7.5, description="share that counts as important for utility, and is kept")
    samples: int = Field(default=128, ge=1, description="forget and utility answers read at most, each")

    @model_validator(mode="after")
    def _check_percents(self) -> PruneParams:
        for name in ("forget_percent", "percent"):
            points = list(getattr(self, name))
            if points != sorted(set(points)):
                raise ValueError(f"{name} must strictly rise, weak to strong; got {points}, try {sorted(set(points))}")
        if self.forget_percent[-1] > self.utility_percent:
            raise ValueError(
                f"utility_percent ({self.utility_percent:g}) must be at least the largest forget_percent "
                f"({self.forget_percent[-1]:g}), so that what both need is kept"
            )
        return self

    @property
    def strongest(self) -> float | None:
        return max(self.forget_percent if self.by == "set_difference" else self.percent)

    @property
    def forget_facts(self) -> int:
        return 1 if self.by == "set_difference" else 0

    def work(self) -> AttackWork:
        if self.by != "set_difference":
            read = self.samples * len(self.percent) if self.by == "wanda" else 0
            return work_without_training(states=len(self.percent), read_rows=read)
        return work_without_training(states=len(self.forget_percent), read_rows=2 * self.samples)
