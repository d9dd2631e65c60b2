"""SatImp: gradient ascent weighted by how saturated and how important a token is (arXiv 2505.11953).

The released class and the released configuration disagree on the weights by a factor of 100 (forget 1 and retain 0.1,
or forget 0.1 and retain 1). The defaults here are the class's, which are also the ones its documentation states.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms
from unlearn_sweep.methods.token_losses import token_nll


def saturation_importance_ascent(nll: Tensor, *, beta1: float, beta2: float) -> Tensor:
    """-p^beta1 (1 - p)^beta2 * NLL [N], the weight held constant in the gradient.

    beta2 = 0 is WGA with beta1, and with both 0 gradient ascent. 1 - p is computed as -expm1(-NLL).
    """
    constant = nll.detach()
    weight = torch.exp(-beta1 * constant) * (-torch.expm1(-constant)) ** beta2
    return -weight * nll


@dataclass(frozen=True, slots=True, kw_only=True)
class SatImp:
    """Doubly weighted ascent on the forget answers plus a retain term."""

    beta1: float = 5.0
    beta2: float = 1.0
    forget_weight: float = 1.0
    retain_weight: float = 0.1
    retain: Retain = "nll"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight)

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        nll = token_nll(batch.logits, batch.targets)
        total = saturation_importance_ascent(nll, beta1=self.beta1, beta2=self.beta2).sum()
        forget = Term(name="forget", total=total, view="forget", per="token", weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
