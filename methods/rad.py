"""RAD and RAB: move forget states along a random direction, or take their part along it out (arXiv 2501.19202 group).

Both steer to a point made of the original state, so unlike RMU they keep what the state says besides the direction.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn_sweep.methods.hidden_losses import mean_squared_distance, random_direction
from unlearn_sweep.methods.hidden_retain import HiddenRetain, hidden_needs, hidden_retain_terms
from unlearn_sweep.methods.interface import Needs, Step, Term, Trainable
from unlearn_sweep.methods.rmu import HiddenReduction, steering_term


def added(states: Tensor, direction: Tensor, length: float) -> Tensor:
    """states + length * direction, [N, D]."""
    return states + length * direction


def ablated(states: Tensor, direction: Tensor, length: float) -> Tensor:
    """states less `length` times their part along `direction` (of length 1), [N, D]; 1 removes it, 2 mirrors it."""
    return states - length * (states @ direction)[:, None] * direction


@dataclass(frozen=True, slots=True, kw_only=True)
class RAD:
    """Representation addition: the target is the original state plus `steering` times a random unit direction."""

    layer: float = 0.25
    steering: float = 20.0
    reduction: HiddenReduction = "token_mean"
    trainable: Trainable = "down_projections"
    forget_weight: float = 1.0
    retain_weight: float = 1200.0
    retain: HiddenRetain = "embed_mse"

    def needs(self) -> Needs:
        return hidden_needs(
            self.retain, self.retain_weight, layer=self.layer, trainable=self.trainable, reference_views=("forget",)
        )

    def target(self, original: Tensor, direction: Tensor) -> Tensor:
        """Where the forget states [N, D] shall be."""
        return added(original, direction, self.steering)

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch, layer = step.forward("forget"), step.layers()[0]
        original = step.reference_hidden("forget")[layer]
        direction = random_direction(original.shape[-1], step.generator("direction", same_every_step=True))
        values = mean_squared_distance(batch.hidden[layer], self.target(original, direction.to(original.dtype)))
        forget = steering_term(batch, values, self.reduction, self.forget_weight)
        return (forget, *hidden_retain_terms(self.retain, step, self.retain_weight))


@dataclass(frozen=True, slots=True, kw_only=True)
class RAB(RAD):
    """Representation ablation: the target is the original state without `steering` times its part along a direction."""

    steering: float = 1.0

    def target(self, original: Tensor, direction: Tensor) -> Tensor:
        return ablated(original, direction, self.steering)
