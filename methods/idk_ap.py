"""IDK+AP: refusals on forget questions, answers preferred to refusals on retain questions (arXiv 2410.08109)."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.answer_preservation import preservation_term
from unlearn_sweep.methods.idk import refusal_term
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.reduction import Reduction


@dataclass(frozen=True, slots=True, kw_only=True)
class IDKAP:
    """Refusal NLL on the forget questions plus answer preservation on the retain questions."""

    beta: float = 0.1
    reduction: Reduction = "sequence_sum"
    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def needs(self) -> Needs:
        return Needs(views=("forget_idk", "retain", "retain_idk"))

    def terms(self, step: Step) -> tuple[Term, ...]:
        preservation = preservation_term(step, beta=self.beta, reduction=self.reduction, weight=self.retain_weight)
        return (refusal_term(step, self.forget_weight), preservation)
