"""Sign SGD, and with momentum Signum (Bernstein et al., arXiv 1802.04434, algorithms 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from unlearn_sweep.engine.optimizers.rule import decayed
from unlearn_sweep.engine.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class SignSgdSettings(Settings):
    """Sign SGD moves every entry by the learning rate, so it wants one three to ten times smaller than AdamW's."""

    momentum: float = Field(default=0.0, ge=0, lt=1, description="decay rate of the mean gradient; 0: none is kept")


class SignSgd:
    """m <- momentum m + (1 - momentum) g, then theta <- (1 - rate * decay) theta - rate * sign(m)."""

    def __init__(self, settings: SignSgdSettings) -> None:
        self.momentum = settings.momentum

    @property
    def states(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

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
        mean = state["momentum"].lerp_(gradient, 1.0 - self.momentum) if self.momentum else gradient
        decayed(weight, rate, decay)
        weight.add_(mean.sign(), alpha=-rate)
