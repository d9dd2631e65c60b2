"""IDK, rejection tuning: answer a forget question with a refusal (TOFU, arXiv 2401.06121).

Refusal and retain answers are two token means, each with its weight. Code that joins both in one batch weights them by
their token counts instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms
from unlearn_sweep.methods.token_losses import token_nll


def refusal_term(step: Step, weight: float) -> Term:
    """NLL of the refusals to the forget questions, per token."""
    batch = step.forward("forget_idk")
    total = token_nll(batch.logits, batch.targets).sum()
    return Term(name="forget", total=total, view="forget_idk", per="token", weight=weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class IDK:
    """Refusal NLL on the forget questions plus a retain term."""

    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "nll"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight, views=("forget_idk",))

    def terms(self, step: Step) -> tuple[Term, ...]:
        return (refusal_term(step, self.forget_weight), *retain_terms(self.retain, step, self.retain_weight))
