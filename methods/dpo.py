"""DPO for unlearning: prefer a refusal to the answer that should be forgotten (arXiv 2305.18290; TOFU, 2401.06121).

The factor 2/beta is the unlearning literature's; textbook DPO has factor 1, so a learning rate tuned there is 2/beta
times too large here.
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.reduction import Reduction, counts, pair_counts, preference_loss, reduce_sums, sequence_nll
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms


def dpo_term(step: Step, win: str, *, beta: float, reduction: Reduction, weight: float) -> Term:
    """-(2/beta) log sigmoid(beta ((S_l - S_l_ref) - (S_w - S_w_ref))) for each forget question.

    Winner: view `win`; loser: view "forget". At the reference it is (2/beta) ln 2 a sequence.
    """
    chosen, rejected = step.forward(win), step.forward("forget")
    pairs = pair_counts(chosen, rejected)
    gain = reduce_sums(sequence_nll(chosen) - step.reference_nll(win), counts(chosen), reduction)
    loss = reduce_sums(sequence_nll(rejected) - step.reference_nll("forget"), counts(rejected), reduction)
    total = preference_loss(loss - gain, pairs, beta=beta)
    return Term(name="forget", total=total, view="forget", per="sequence", weight=weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class DPO:
    """DPO with refusals as winners plus a retain term. References are two cached numbers a question."""

    beta: float = 0.1
    reduction: Reduction = "sequence_sum"
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "nll"

    def needs(self) -> Needs:
        views = ("forget_idk", "forget")
        return retain_needs(
            self.retain, self.retain_weight, views=views, reference="sequence_nll", reference_views=views
        )

    def terms(self, step: Step) -> tuple[Term, ...]:
        forget = dpo_term(step, "forget_idk", beta=self.beta, reduction=self.reduction, weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
