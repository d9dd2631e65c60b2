"""Probe sampling: a cheap draft chooses which candidates of a GCG step the model itself scores.

Source: Zhao et al., "Accelerating Greedy Coordinate Gradient and General Prompt Optimization via Probe Sampling" (arXiv
2403.01251): the draft scores all candidates, the model a random part of them (the probe set). The better both agree
there (Spearman's rank correlation), the fewer of the draft's best candidates the model scores: (1 - agreement) *
candidates / reduction, where agreement = (1 + correlation) / 2. The best candidate that the model has scored is taken.

The paper's draft is a small model with the same vocabulary. Here it is the first blocks of the model itself, followed
by its final norm and head: it needs no second model, and fits every unlearned model.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.joint_tokens import Ids
from unlearn_sweep.evaluators.model_parts import CutOff, decoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Losses = Callable[[Sequence[Ids]], list[float]]
PROBES = 16
"""The probe set is this part of the candidates, as published."""
REDUCTION = 8.0
"""What the filtered set is divided by at no agreement, as published."""


@dataclass(frozen=True, slots=True)
class ProbeSampling:
    """Chooses candidates by `draft`, the losses of the cheap model."""

    draft: Losses

    def scored(self, texts: Sequence[Ids], losses: Losses, generator: torch.Generator) -> list[tuple[float, Ids]]:
        """Return those of `texts` that `losses` was asked for, with their losses: probe set and filtered set.

        A loss that is NaN in either model counts as no agreement.
        """
        guessed = self.draft(texts)
        probes = torch.randperm(len(texts), generator=generator)[: max(1, len(texts) // PROBES)].tolist()
        found = list(zip(losses([texts[place] for place in probes]), (texts[place] for place in probes), strict=True))
        agreed = agreement([guessed[place] for place in probes], [loss for loss, _ in found])
        count = max(1, math.floor((1 - agreed) * len(texts) / REDUCTION))
        best = sorted(range(len(texts)), key=guessed.__getitem__)[:count]
        filtered = [texts[place] for place in best if place not in set(probes)]
        return found + (list(zip(losses(filtered), filtered, strict=True)) if filtered else [])


def agreement(one: Sequence[float], other: Sequence[float]) -> float:
    """(1 + Spearman's rank correlation) / 2, in [0, 1]; 0 for fewer than two values, equal ones, or NaN."""
    if len(one) < 2:
        return 0.0
    values = torch.tensor([one, other], dtype=torch.float64)
    if not bool(torch.isfinite(values).all()):
        return 0.0
    # Tied values share the mean of their ranks.
    ranks = (values[:, :, None] > values[:, None, :]).double().sum(-1)
    ranks += (values[:, :, None] == values[:, None, :]).double().sum(-1) / 2
    first, second = ranks - ranks.mean(dim=1, keepdim=True)
    scale = float((first.square().sum() * second.square().sum()).sqrt())
    return min(1.0, max(0.0, (1 + float((first * second).sum()) / scale) / 2)) if scale > 0 else 0.0


def first_blocks(model: PreTrainedModel, count: int) -> PreTrainedModel:
    """Return a model of the first `count` blocks with the final norm and head, on the very same weights.

    Raises:
        AttackError: the model has no more blocks than that.
    """
    blocks = len(decoder_layers(model))
    if count >= blocks:
        raise AttackError(f"gcg: draft_blocks is {count}, and the model has {blocks} blocks; a draft has fewer of them")
    weights = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    draft = copy.deepcopy(model, weights)
    CutOff(draft).keep(count)
    return draft
