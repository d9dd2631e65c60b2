"""ReLearn: learn vague answers to the forget questions instead of unlearning the right ones (arXiv 2502.11190).

Positive training alone: NLL of a vague, harmless answer to each forget question, often asked in other words, plus the
NLL of the retain answers and KL(original || model) on them. The texts are a written view (`vague_answer`).

The released code (zjunlp/unlearn) also trains on each original question with its original answer, which is what should
be forgotten, and pairs each reworded question with the vague answer to the question before; here neither is done. Its
completions of a quarter of an answer and its mix with WikiQA are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import retain_needs, retain_term
from unlearn_sweep.methods.token_losses import token_nll


@dataclass(frozen=True, slots=True, kw_only=True)
class ReLearn:
    """`answers`: written vague ones, or refusals, which need no view."""

    answers: Literal["written", "refusals"] = "written"
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    kl_weight: float = 1.0

    @property
    def view(self) -> str:
        return "forget_vague" if self.answers == "written" else "forget_idk"

    def needs(self) -> Needs:
        plain = retain_needs("nll", self.retain_weight, views=(self.view,))
        if self.kl_weight == 0:
            return plain
        return replace(plain, views=(self.view, "retain"), reference="logits", reference_views=("retain",))

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward(self.view)
        total = token_nll(batch.logits, batch.targets).sum()
        terms = [Term(name="forget", total=total, view=self.view, per="token", weight=self.forget_weight)]
        if self.retain_weight != 0:
            terms.append(retain_term("nll", step, self.retain_weight))
        if self.kl_weight != 0:
            terms.append(replace(retain_term("kl", step, self.kl_weight), name="kl"))
        return tuple(terms)
