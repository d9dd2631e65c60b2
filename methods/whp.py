"""WHP ("Who's Harry Potter"): learn to answer as if the subject were nothing special (arXiv 2310.02238, section 2.1).

A *reinforced* model, the original trained further on the forget rows, tells which tokens the subject makes likelier:

    generic = original logits - strength * relu(reinforced logits - original logits)

The model is trained towards the generic prediction at every forget token: its first choice, as published, or its whole
distribution. The reinforced model is a stage of its own, made once for all trials that share its two parameters.

The paper's dictionary of anchored terms, which GPT-4 wrote for one series of novels, is left out. MUSE's form, this
arithmetic at every generated token with both models at hand, leaves no model that could be relearned, quantised or
exported, so it is no method here: the trained form is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unlearn_sweep.methods.chunked_logits import row_wise
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms
from unlearn_sweep.methods.token_losses import full_precision, soft_cross_entropy, token_nll

Labels = Literal["first_choice", "distribution"]


def generic_logits(original: Tensor, reinforced: Tensor, *, strength: float) -> Tensor:
    """original - strength * relu(reinforced - original), [N, V], without a gradient; strength 0 is the original."""
    before, after = full_precision(original).detach(), full_precision(reinforced).detach()
    return before - strength * (after - before).relu()


@row_wise
def generic_loss(logits: Tensor, original: Tensor, reinforced: Tensor, *, strength: float, labels: Labels) -> Tensor:
    """CE [N] of the model to the generic prediction: to its first choice, or to its distribution."""
    generic = generic_logits(original, reinforced, strength=strength)
    if labels == "first_choice":
        return token_nll(logits, generic.argmax(-1))
    return soft_cross_entropy(torch.softmax(generic, -1), logits)


@dataclass(frozen=True, slots=True, kw_only=True)
class WHP:
    """Distillation of the generic prediction; published without a retain term.

    `reinforce_learning_rate` and `reinforce_epochs` are those of the reinforced model, which the engine trains.
    """

    strength: float = 5.0
    labels: Labels = "first_choice"
    reinforce_learning_rate: float = 3e-6
    reinforce_epochs: int = 3
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "none"

    def needs(self) -> Needs:
        needs = retain_needs(self.retain, self.retain_weight, reference="logits", reference_views=("forget",))
        return replace(needs, teacher="reinforced")

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        original, reinforced = step.reference_logits("forget"), step.teacher_logits("forget")
        losses = generic_loss(batch.logits, original, reinforced, strength=self.strength, labels=self.labels)
        forget = Term(name="forget", total=losses.sum(), view="forget", per="token", weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
