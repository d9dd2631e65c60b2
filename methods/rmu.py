"""RMU: steer the forget states at one layer to a random direction, hold the retain states (arXiv 2403.03218, eq. 2, 3).

The states are those at the supervised positions, the ones an answer is predicted from. The published code averages
over every position, padding included, which `authors`-like question rows would turn into unlearning the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unlearn_sweep.methods.hidden_losses import mean_squared_distance, random_direction, sequence_means
from unlearn_sweep.methods.hidden_retain import HiddenRetain, hidden_needs, hidden_retain_terms
from unlearn_sweep.methods.interface import Needs, Step, Supervised, Term, Trainable

HiddenReduction = Literal["token_mean", "sequence_mean", "mean_of_sums"]


def steering_term(batch: Supervised, values: Tensor, reduction: HiddenReduction, weight: float) -> Term:
    """The forget term from a value [N] at each position.

    token_mean     mean over all positions of the global batch
    sequence_mean  mean over sequences of the mean over their positions
    mean_of_sums   mean over sequences of the sums, times the mean of one over the counts: what open-unlearning's code
                   computes by dividing [B] by [B, 1]. Sequences of unlike length mix; for comparison only.
    """
    if reduction == "token_mean":
        return Term(name="forget", total=values.sum(), view="forget", per="token", weight=weight)
    total = sequence_means(values, batch.sequence, batch.sequences).sum()
    if reduction == "mean_of_sums":
        counts = torch.bincount(batch.sequence, minlength=batch.sequences).clamp(min=1)
        total = values.sum() * (1 / counts).sum() / max(1, batch.sequences)
    return Term(name="forget", total=total, view="forget", per="sequence", weight=weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class RMU:
    """`layer`: where, as a share of the depth. `steering`: length of the target; what works depends on the states'."""

    layer: float = 0.25
    steering: float = 6.5
    reduction: HiddenReduction = "token_mean"
    trainable: Trainable = "down_projections"
    forget_weight: float = 1.0
    retain_weight: float = 1200.0
    retain: HiddenRetain = "embed_mse"

    def needs(self) -> Needs:
        return hidden_needs(self.retain, self.retain_weight, layer=self.layer, trainable=self.trainable)

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        states = batch.hidden[step.layers()[0]]
        direction = random_direction(states.shape[-1], step.generator("direction", same_every_step=True))
        values = mean_squared_distance(states, self.steering * direction)
        forget = steering_term(batch, values, self.reduction, self.forget_weight)
        return (forget, *hidden_retain_terms(self.retain, step, self.retain_weight))
