"""UNDIAL: self-distillation towards the original model with the true token's logit lowered (arXiv 2402.10052)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_sweep.methods.chunked_logits import row_wise
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms
from unlearn_sweep.methods.token_losses import full_precision, soft_cross_entropy


@row_wise
def undial_loss(reference_logits: Tensor, logits: Tensor, targets: Tensor, *, beta: float) -> Tensor:
    """CE [N] of the model to softmax(reference logits - beta * one-hot(target)).

    beta = 0 is self-distillation, with no gradient where the model is still the original.
    """
    reference = full_precision(reference_logits).detach()
    lowered = reference.scatter_add(-1, targets[:, None], torch.full_like(reference[:, :1], -beta))
    return soft_cross_entropy(torch.softmax(lowered, dim=-1), logits)


@dataclass(frozen=True, slots=True, kw_only=True)
class UNDIAL:
    """UNDIAL on the forget answers' supervised tokens; published without a retain term."""

    beta: float = 10.0
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "none"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight, reference="logits", reference_views=("forget",))

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        reference = step.reference_logits("forget")
        total = undial_loss(reference, batch.logits, batch.targets, beta=self.beta).sum()
        forget = Term(name="forget", total=total, view="forget", per="token", weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
