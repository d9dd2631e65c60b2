"""Parameters of `logit_lens`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from unlearn_sweep.evaluators.attacks.attack_params import AttackWork, WeightsParams, work_without_training


class LogitLensParams(WeightsParams):
    """Reading the answer out of an inner layer."""

    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, min_length=1, description="layers to choose from, counted from 1; null: all, the last included"
    )

    @property
    def forget_facts(self) -> int:
        return 1

    def work(self) -> AttackWork:
        """The halves of rows read for each layer are left out: their number depends on model and benchmark."""
        return work_without_training(states=1)
