"""Zeroth order: MeZO's estimate of the gradient along random directions, from losses alone.

Malladi et al., arXiv 2305.17333, algorithm 1 (n-SPSA with replayed seeds). That such optimizers leave unlearning that
withstands relearning and quantisation better is the finding of arXiv 2510.00761. No gradient and no state is kept.
"""

from __future__ import annotations

from pydantic import Field

from unlearn_sweep.engine.settings import Settings


class ZerothOrderSettings(Settings):
    """It wants many steps and a small learning rate: MeZO takes 1e-7 to 1e-6 and tens of thousands of steps."""

    perturbation: float = Field(default=1e-3, gt=0, description="distance to the two points that are compared")
    directions: int = Field(
        default=1, ge=1, le=1000, description="random directions of a step; each costs two forward passes"
    )


def slope(above: float, below: float, perturbation: float) -> float:
    """Return the central difference of the loss along a direction: (above - below) / (2 perturbation)."""
    return (above - below) / (2.0 * perturbation)
