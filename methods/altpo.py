"""AltPO: DPO whose winners are plausible wrong answers written by the model itself (arXiv 2409.13474)."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.dpo import dpo_term
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.reduction import Reduction
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms


@dataclass(frozen=True, slots=True, kw_only=True)
class AltPO:
    """DPO with alternate answers as winners plus a retain term."""

    beta: float = 0.1
    reduction: Reduction = "sequence_sum"
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "nll"

    def needs(self) -> Needs:
        views = ("forget_alternate", "forget")
        return retain_needs(
            self.retain, self.retain_weight, views=views, reference="sequence_nll", reference_views=views
        )

    def terms(self, step: Step) -> tuple[Term, ...]:
        forget = dpo_term(step, "forget_alternate", beta=self.beta, reduction=self.reduction, weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
