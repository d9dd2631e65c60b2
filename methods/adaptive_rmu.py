"""Adaptive RMU: the target's length follows the original model's own states (arXiv 2408.06223, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.hidden_losses import mean_squared_distance, random_direction
from unlearn_sweep.methods.hidden_retain import HiddenRetain, hidden_needs, hidden_retain_terms
from unlearn_sweep.methods.interface import Needs, Step, Term, Trainable
from unlearn_sweep.methods.rmu import HiddenReduction, steering_term


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveRMU:
    """RMU towards `scale` times the length of each position's original state, so that no layer needs its own."""

    layer: float = 0.25
    scale: float = 5.0
    reduction: HiddenReduction = "token_mean"
    trainable: Trainable = "down_projections"
    forget_weight: float = 1.0
    retain_weight: float = 1200.0
    retain: HiddenRetain = "embed_mse"

    def needs(self) -> Needs:
        return hidden_needs(
            self.retain, self.retain_weight, layer=self.layer, trainable=self.trainable, reference_views=("forget",)
        )

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch, layer = step.forward("forget"), step.layers()[0]
        states, original = batch.hidden[layer], step.reference_hidden("forget")[layer]
        direction = random_direction(states.shape[-1], step.generator("direction", same_every_step=True))
        target = self.scale * original.norm(dim=-1, keepdim=True) * direction
        forget = steering_term(batch, mean_squared_distance(states, target), self.reduction, self.forget_weight)
        return (forget, *hidden_retain_terms(self.retain, step, self.retain_weight))
