"""Parameters of `logit_lens`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from unlearn_sweep.evaluators.attacks.attack_params import WeightsParams


class LogitLensParams(WeightsParams):
    """Reading the answer out of an inner layer."""

    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, min_length=1, description="layers to choose from, counted from 1; null: all, the last included"
    )
