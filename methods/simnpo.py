"""SimNPO: NPO without a reference, on the mean over an answer's tokens (arXiv 2410.07163).

`delta` stands inside the product with beta, as in the released TOFU code. A published card that writes
`beta * nll - gamma` means `delta = gamma / beta`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.reduction import Reduction, counts, preference_loss, reduce_sums, sequence_nll
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms


def simnpo_loss(nll: Tensor, tokens: Tensor, *, beta: float, delta: float, reduction: Reduction) -> Tensor:
    """Sum over sequences of -(2/beta) log sigmoid(beta (S/n - delta)); `nll` and `tokens` are [B]."""
    return preference_loss(reduce_sums(nll, tokens, reduction) - delta, tokens, beta=beta)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimNPO:
    """SimNPO on the forget answers plus a retain term."""

    beta: float = 4.5
    delta: float = 0.0
    reduction: Reduction = "sequence_mean"
    forget_weight: float = 0.125
    retain_weight: float = 1.0
    retain: Retain = "nll"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight)

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        total = simnpo_loss(
            sequence_nll(batch), counts(batch), beta=self.beta, delta=self.delta, reduction=self.reduction
        )
        forget = Term(name="forget", total=total, view="forget", per="sequence", weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
