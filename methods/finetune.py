"""Plain fine-tuning: trains original and gold models and task vectors. No unlearning method, so no sweep offers it."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.token_losses import token_nll


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetune:
    """Token-mean negative log-likelihood of the answers of view "train"."""

    def needs(self) -> Needs:
        return Needs(views=("train",))

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("train")
        total = token_nll(batch.logits, batch.targets).sum()
        return (Term(name="train", total=total, view="train", per="token"),)
