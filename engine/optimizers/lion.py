"""Lion: the sign of an interpolated momentum (Chen et al., arXiv 2302.06675, algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from unlearn_sweep.engine.optimizers.rule import decayed
from unlearn_sweep.engine.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class LionSettings(Settings):
    """Lion moves every entry by the learning rate, so it wants one three to ten times smaller than AdamW's."""

    beta1: float = Field(default=0.9, ge=0, lt=1, description="share of the momentum in the direction of a step")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="decay rate of the momentum")


class Lion:
    """theta <- (1 - rate * decay) theta - rate * sign(beta1 m + (1 - beta1) g), then m <- beta2 m + (1 - beta2) g."""

    states = ("momentum",)

    def __init__(self, settings: LionSettings) -> None:
        self.settings = settings

    def update(
        self,
        weight: Tensor,
        gradient: Tensor,
        state: Mapping[str, Tensor],
        *,
        step: int,
        rate: float,
        decay: float,
        curvature: Tensor | None = None,
    ) -> None:
        momentum = state["momentum"]
        direction = momentum.lerp(gradient, 1.0 - self.settings.beta1).sign_()
        decayed(weight, rate, decay)
        weight.add_(direction, alpha=-rate)
        momentum.lerp_(gradient, 1.0 - self.settings.beta2)
