"""Task vector, negated: learn the forget rows even better, then walk the other way (arXiv 2212.04089, section 3).

The training is plain fine-tuning on the forget rows; what is kept is start - strength * (trained - start).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.token_losses import token_nll


def negated(start: Tensor, trained: Tensor, strength: float) -> Tensor:
    """start - strength * (trained - start), in fp32 or wider; strength 0 is the start model."""
    return start - strength * (trained - start)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskVector:
    """`strength`: how far the other way, in lengths of the task vector."""

    strength: float = 1.0

    def needs(self) -> Needs:
        return Needs(views=("forget",))

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        total = token_nll(batch.logits, batch.targets).sum()
        return (Term(name="forget", total=total, view="forget", per="token"),)

    def final(self, start: Tensor, trained: Tensor) -> Tensor:
        """The weights that are kept."""
        return negated(start, trained, self.strength)
