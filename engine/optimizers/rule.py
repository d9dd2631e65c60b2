"""The update of one weight by an optimizer that torch does not have. Pure functions of tensors; no torch import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Rule(Protocol):
    """How a weight moves, from its gradient and its own state.

    Attributes:
        states: Names of the tensors that the rule keeps for each weight; each has the weight's shape and starts at 0.
    """

    @property
    def states(self) -> tuple[str, ...]: ...

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
        """Move `weight` and `state` in place.

        Args:
            weight: Any shape; under ZeRO a flat part of several weights.
            gradient: As `weight`, not changed.
            state: The tensors of `states`.
            step: Number of this update, from 1.
            rate: Learning rate of this step.
            decay: Decoupled weight decay; the weight loses the share `rate * decay`.
            curvature: A new estimate of the loss's second derivative at each entry, not negative; None without one.
        """
        ...


def decayed(weight: Tensor, rate: float, decay: float) -> None:
    """Shrink a weight in place by decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101)."""
    if decay:
        weight.mul_(1.0 - rate * decay)
