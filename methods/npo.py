"""Negative preference optimisation (arXiv 2404.05868, equation 3).

Three losses are published under this name. This one is the paper's: a likelihood ratio of whole answers, one sigmoid a
sequence. `reduction: token_mean_batch` gives the form of some later code, one sigmoid a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.reduction import Reduction, counts, preference_loss, reduce_sums, sequence_nll
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms


def npo_loss(nll: Tensor, reference_nll: Tensor, tokens: Tensor, *, beta: float, reduction: Reduction) -> Tensor:
    """Sum over sequences of -(2/beta) log sigmoid(beta (S - S_ref)); `nll`, `reference_nll`, `tokens` are [B].

    At the reference it is (2/beta) ln 2 a sequence, with the gradient of -S.
    """
    margin = reduce_sums(nll - reference_nll, tokens, reduction)
    return preference_loss(margin, tokens, beta=beta)


@dataclass(frozen=True, slots=True, kw_only=True)
class NPO:
    """NPO on the forget answers plus a retain term. The reference is one cached number a sequence."""

    beta: float = 0.1
    reduction: Reduction = "sequence_sum"
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "nll"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight, reference="sequence_nll", reference_views=("forget",))

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        total = npo_loss(
            sequence_nll(batch), step.reference_nll("forget"), counts(batch), beta=self.beta, reduction=self.reduction
        )
        forget = Term(name="forget", total=total, view="forget", per="sequence", weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
