"""KL minimisation: ascent on the forget answers, KL to the original model on the retain answers (TOFU, 2401.06121).

The KL runs over supervised positions. Code that averages it over prompt and padding positions too, or over the
vocabulary, gets a term of another scale: its retain weight cannot be carried over.
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.grad_ascent import ascent_term
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import retain_needs, retain_terms


@dataclass(frozen=True, slots=True, kw_only=True)
class KLMin:
    """`-forget_weight * NLL(forget) + retain_weight * KL(original || model)`."""

    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def needs(self) -> Needs:
        return retain_needs("kl", self.retain_weight)

    def terms(self, step: Step) -> tuple[Term, ...]:
        return (ascent_term(step, self.forget_weight), *retain_terms("kl", step, self.retain_weight))
