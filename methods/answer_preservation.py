"""Answer preservation: on retain questions the answer stays likelier than a refusal (arXiv 2410.08109)."""

from __future__ import annotations

from torch import Tensor

from unlearn_sweep.methods.interface import Step, Term
from unlearn_sweep.methods.reduction import Reduction, pair_counts, preference_loss, reduced_nll


def answer_preservation(refusal_nll: Tensor, answer_nll: Tensor, tokens: Tensor, *, beta: float) -> Tensor:
    """Sum over sequences of -(1/beta) log sigmoid(beta (S(refusal) - S(answer))); all three are [B].

    No reference, and factor 1/beta where NPO and DPO have 2/beta. It falls when the answer becomes likelier.
    """
    return preference_loss(refusal_nll - answer_nll, tokens, beta=beta, factor=1.0)


def preservation_term(step: Step, *, beta: float, reduction: Reduction, weight: float) -> Term:
    """The retain term of IDK+AP, over views "retain" and "retain_idk"."""
    refusal, answer = step.forward("retain_idk"), step.forward("retain")
    total = answer_preservation(
        reduced_nll(refusal, reduction), reduced_nll(answer, reduction), pair_counts(refusal, answer), beta=beta
    )
    return Term(name="retain", total=total, view="retain", per="sequence", weight=weight)
