"""Maximum entropy: make the next token of a forget answer uniform (arXiv 2410.08109, there as ME+GD).

Two measures of it: KL(uniform || model), as published there, and the negative entropy of the model, which is TAR's
tamper-resistance objective (arXiv 2408.00761) and weighs a token that is nearly certain much less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms
from unlearn_sweep.methods.token_losses import kl_from_uniform, negative_entropy


@dataclass(frozen=True, slots=True, kw_only=True)
class ME:
    """Distance to the uniform distribution on the forget answers plus a retain term."""

    measure: Literal["kl", "entropy"] = "kl"
    forget_weight: float = 0.1
    retain_weight: float = 1.0
    retain: Retain = "nll"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight)

    def terms(self, step: Step) -> tuple[Term, ...]:
        measured = kl_from_uniform if self.measure == "kl" else negative_entropy
        losses = measured(step.forward("forget").logits)
        forget = Term(name="forget", total=losses.sum(), view="forget", per="token", weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
