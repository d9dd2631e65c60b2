"""Gradient ascent on the forget answers (Thudi et al. 2022, arXiv 2109.13398; Jang et al. 2022, arXiv 2210.01504)."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.token_losses import token_nll


def ascent_term(step: Step, weight: float) -> Term:
    """-NLL of the forget answers, per token. Unbounded below: a run past the loss cap is stopped by the engine."""
    batch = step.forward("forget")
    total = -token_nll(batch.logits, batch.targets).sum()
    return Term(name="forget", total=total, view="forget", per="token", weight=weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradAscent:
    """Ascent alone. It reads no retain set."""

    def needs(self) -> Needs:
        return Needs(views=("forget",))

    def terms(self, step: Step) -> tuple[Term, ...]:
        return (ascent_term(step, 1.0),)
