"""Sophia: momentum divided by an estimate of the diagonal Hessian, each entry clipped (Liu et al., arXiv 2305.14342).

SOUL (Jia et al., arXiv 2404.18239) uses it for unlearning. Two estimates of the curvature:

- `gauss_newton`, the paper's algorithm 2: targets are drawn from the model itself at the supervised tokens of the
  step's rows; n tokens with mean loss L give n (dL)^2. It costs one forward and one backward pass at those steps.
- `gradient`: the square of the step's own gradient. It costs nothing and works under ZeRO, but mixes the curvature
  with the size of the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from unlearn_sweep.engine.optimizers.rule import decayed
from unlearn_sweep.engine.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_DIVISOR = 1e-12


class SophiaSettings(Settings):
    """An entry moves by at most the learning rate."""

    beta1: float = Field(default=0.96, ge=0, lt=1, description="decay rate of the momentum")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="decay rate of the curvature")
    gamma: float = Field(default=0.05, gt=0, description="scale of the curvature; smaller: more entries are clipped")
    every: int = Field(
        default=10, ge=1, le=1_000_000, description="steps from one estimate of the curvature to the next"
    )
    curvature: Literal["gauss_newton", "gradient"] = Field(
        default="gauss_newton",
        description="gauss_newton: from targets that the model draws (torch backend); gradient: the gradient's square",
    )


class Sophia:
    """m <- beta1 m + (1 - beta1) g; theta <- (1 - rate * decay) theta - rate * clip(m / max(gamma h, 1e-12), 1).

    Every `every` steps, before that, h <- beta2 h + (1 - beta2) estimate (algorithm 3 of the paper).
    """

    states = ("momentum", "curvature")

    def __init__(self, settings: SophiaSettings) -> None:
        self.settings = settings

    def draws_at(self, step: int) -> bool:
        """Return whether update number `step` (from 1) wants an estimate from drawn targets."""
        return self.settings.curvature == "gauss_newton" and self._estimates_at(step)

    def _estimates_at(self, step: int) -> bool:
        return (step - 1) % self.settings.every == 0

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
        momentum, known = state["momentum"], state["curvature"]
        if self.settings.curvature == "gradient" and self._estimates_at(step):
            curvature = gradient.square()
        if curvature is not None:
            known.lerp_(curvature, 1.0 - self.settings.beta2)
        momentum.lerp_(gradient, 1.0 - self.settings.beta1)
        divisor = (known * self.settings.gamma).clamp_(min=SMALLEST_DIVISOR)
        decayed(weight, rate, decay)
        weight.add_((momentum / divisor).clamp_(-1.0, 1.0), alpha=-rate)
