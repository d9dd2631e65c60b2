"""GradDiff: gradient ascent on the forget answers, descent on the retain answers (arXiv 2203.12817, 2310.10683)."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.grad_ascent import ascent_term
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms


@dataclass(frozen=True, slots=True, kw_only=True)
class GradDiff:
    """`-forget_weight * NLL(forget) + retain_weight * retain`."""

    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "nll"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight)

    def terms(self, step: Step) -> tuple[Term, ...]:
        return (ascent_term(step, self.forget_weight), *retain_terms(self.retain, step, self.retain_weight))
