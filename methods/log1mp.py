"""log(1 - p): the "away" loss of HarmBench's R2D2 (arXiv 2402.04249), also used with latent adversarial training.

Bounded below by 0 and almost flat once a token is unlikely, so it does not run away as gradient ascent does.
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms
from unlearn_sweep.methods.token_losses import negative_log_one_minus_p


@dataclass(frozen=True, slots=True, kw_only=True)
class Log1mP:
    """-log(1 - p(answer token)) on the forget answers plus a retain term."""

    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "nll"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight)

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        total = negative_log_one_minus_p(batch.logits, batch.targets).sum()
        forget = Term(name="forget", total=total, view="forget", per="token", weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
