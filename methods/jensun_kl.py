"""JensUn with KL in place of JSD, the paper's ablation: cross-entropy to the target string (arXiv 2509.02820).

KL(one-hot || p) = -ln p(target): unbounded, so the gradient does not vanish where the target is unlikely.
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.jensun import target_nll, target_tensor
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms


@dataclass(frozen=True, slots=True, kw_only=True)
class JensUnKL:
    """Cross-entropy to the target string on the forget answers plus a retain term."""

    target: str = "No idea"
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "kl"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight)

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        total = target_nll(batch, target_tensor(step, self.target, batch.targets)).sum()
        forget = Term(name="forget", total=total, view="forget", per="token", weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
