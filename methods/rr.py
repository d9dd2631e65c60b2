"""RR, circuit breakers: forget states turn away from the original ones, retain states stay (arXiv 2406.04313, alg. 1).

The weights of both terms change during training: with p = progress / 2 the retain term has strength * p and the forget
term strength * (1 - p), so forgetting leads at the start and both are equal at the end.

At the original model the cosine is 1 and its gradient 0, so there nothing but rounding decides which way the states
turn. Here a fixed random direction does: the cosine is that of the states pushed along it by a hundredth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unlearn_sweep.methods.hidden_losses import aligned_part, distance, layer_at, nudged, random_direction
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import hidden_retain_term

NUDGE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class RR:
    """Representation rerouting at two depths, with all layers' retain states held."""

    strength: float = 10.0
    lower_layer: float = 0.34
    upper_layer: float = 0.66

    def needs(self) -> Needs:
        views = ("forget", "retain")
        return Needs(views=views, reference="hidden", reference_views=views, layers="all", logits=False)

    def terms(self, step: Step) -> tuple[Term, ...]:
        now, before, depth = step.forward("forget").hidden, step.reference_hidden("forget"), len(step.layers())
        layers = sorted({layer_at(share, depth) for share in (self.lower_layer, self.upper_layer)})
        push = random_direction(now[layers[0]].shape[-1], step.generator("direction", same_every_step=True))
        parts = [aligned_part(nudged(now[layer], push, NUDGE), before[layer]).sum() for layer in layers]
        total = torch.stack(parts).mean()  # over the layers too, as the released code divides by tokens x layers
        later = step.progress / 2
        forget = Term(name="forget", total=total, view="forget", per="token", weight=self.strength * (1 - later))
        return (forget, hidden_retain_term(step, step.layers(), distance, self.strength * later))
