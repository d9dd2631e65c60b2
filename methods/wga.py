"""Weighted gradient ascent: ascent on each token, weighted by its own probability (arXiv 2502.19301)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms
from unlearn_sweep.methods.token_losses import token_nll


def weighted_ascent(nll: Tensor, *, beta: float) -> Tensor:
    """-p^beta * NLL [N] with p = exp(-NLL), the weight held constant in the gradient. beta = 0 is gradient ascent."""
    return -torch.exp(-beta * nll.detach()) * nll


@dataclass(frozen=True, slots=True, kw_only=True)
class WGA:
    """Weighted ascent on the forget answers plus a retain term."""

    beta: float = 1.0
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "nll"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight)

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        total = weighted_ascent(token_nll(batch.logits, batch.targets), beta=self.beta).sum()
        forget = Term(name="forget", total=total, view="forget", per="token", weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
