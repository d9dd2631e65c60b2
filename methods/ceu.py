"""CE-U: cross-entropy to the model's own distribution with the true token taken out (arXiv 2503.01224)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_sweep.methods.chunked_logits import row_wise
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms
from unlearn_sweep.methods.token_losses import full_precision, positions, soft_cross_entropy


@row_wise
def cross_entropy_unlearning(logits: Tensor, targets: Tensor) -> Tensor:
    """CE [N] of the model to q = softmax(logits with the target's at minus infinity), q held constant.

    Its gradient is p_y > 0 on the target's logit and p_v - q_v on the others.
    """
    others = full_precision(logits.detach()).scatter(-1, targets[:, None], -math.inf)
    return soft_cross_entropy(torch.softmax(others, dim=-1), logits)


@dataclass(frozen=True, slots=True, kw_only=True)
class CEU:
    """CE-U on the forget answers without their first `skip_tokens` tokens; published without a retain term.

    Where every answer is at most `skip_tokens` long the term is a zero connected to the graph.
    """

    skip_tokens: int = 1
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "none"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight)

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        kept = positions(batch.sequence, batch.sequences) >= self.skip_tokens
        total = cross_entropy_unlearning(batch.logits[kept], batch.targets[kept]).sum()
        forget = Term(
            name="forget",
            total=total,
            view="forget",
            per="token",
            weight=self.forget_weight,
            skip_tokens=self.skip_tokens,
        )
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
