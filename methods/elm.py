"""ELM: answer as the model would answer if it knew nothing of the subject (arXiv 2410.02760, equations 5 to 9).

The target of each forget token is made of the original model under three prompts: the plain one, one that makes it an
expert and one that makes it a novice,

    log target = log p + eta_t (log p_novice - log p_expert),  kept to the top k, then normalised,

all from logits divided by a temperature, eta_t growing in equal steps from 1 to `eta` along the answer. The retain
term is cross-entropy to the original model's own first choice. The third keeps the text fluent: the NLL of what the
original model itself says after the question and a change of subject, greedily, written once a training (the paper
samples it); or of a refusal. The released code has an author's paths and an integer eta; its sign convention is the
same as here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unlearn_sweep.methods.chunked_logits import row_wise
from unlearn_sweep.methods.interface import Needs, Step, Supervised, Term
from unlearn_sweep.methods.token_losses import (
    first_choice,
    full_precision,
    log_probs,
    positions,
    sequence_counts,
    soft_cross_entropy,
    token_nll,
)

EXPERT, NOVICE = "forget_expert", "forget_novice"


def novice_target(
    plain: Tensor, novice: Tensor, expert: Tensor, eta: Tensor, *, temperature: float, top_k: int
) -> Tensor:
    """The distribution to imitate, [N, V], from logits [N, V] and eta [N]; `top_k` of V or more cuts nothing off."""
    p, n, e = (log_probs(full_precision(logits) / temperature) for logits in (plain, novice, expert))
    scores = p + eta[:, None] * (n - e)
    if top_k < scores.shape[-1]:
        edge = scores.topk(top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < edge, float("-inf"))
    return torch.softmax(scores, dim=-1)


@row_wise
def erasure(
    logits: Tensor, plain: Tensor, novice: Tensor, expert: Tensor, eta: Tensor, *, temperature: float, top_k: int
) -> Tensor:
    """CE [N] of the model to `novice_target`."""
    return soft_cross_entropy(novice_target(plain, novice, expert, eta, temperature=temperature, top_k=top_k), logits)


def ramp(batch: Supervised, eta: float) -> Tensor:
    """eta_t [N]: 1 at the first supervised token of each sequence, `eta` at its last; `eta` where there is one."""
    last = (sequence_counts(batch.sequence, batch.sequences) - 1)[batch.sequence]
    share = torch.where(last > 0, positions(batch.sequence, batch.sequences) / last.clamp(min=1), 1.0)
    return 1 + (eta - 1) * share


@dataclass(frozen=True, slots=True, kw_only=True)
class ELM:
    """`eta` 0 with one token is self-distillation at the temperature. The prompts stand before the question."""

    eta: float = 1000.0
    temperature: float = 1.2
    top_k: int = 50
    expert_prompt: str = "You are an expert on this subject and answer exactly. "
    novice_prompt: str = "You know nothing about this subject. "
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    fluency_weight: float = 1.0
    fluency: Literal["continuation", "refusal"] = "continuation"
    subject_change: str = " Let us talk about something else."

    def needs(self) -> Needs:
        fluent = (self.fluent_view,) if self.fluency_weight else ()
        held = ("retain",) if self.retain_weight else ()
        return Needs(
            views=("forget", *held, *fluent),
            reference="logits",
            reference_views=("forget", EXPERT, NOVICE, *held),
            prefixes=((EXPERT, self.expert_prompt), (NOVICE, self.novice_prompt)),
            subject_change=self.subject_change,
        )

    @property
    def fluent_view(self) -> str:
        """The view whose text keeps answers fluent."""
        return "forget_continuation" if self.fluency == "continuation" else "forget_idk"

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        plain, novice, expert = (step.reference_logits(view) for view in ("forget", NOVICE, EXPERT))
        erase = erasure(
            batch.logits,
            plain,
            novice,
            expert,
            ramp(batch, self.eta),
            temperature=self.temperature,
            top_k=self.top_k,
        ).sum()
        terms = [Term(name="forget", total=erase, view="forget", per="token", weight=self.forget_weight)]
        if self.retain_weight:
            kept = step.forward("retain")
            total = token_nll(kept.logits, first_choice(step.reference_logits("retain"))).sum()
            terms.append(Term(name="retain", total=total, view="retain", per="token", weight=self.retain_weight))
        if self.fluency_weight:
            fluent = step.forward(self.fluent_view)
            total = token_nll(fluent.logits, fluent.targets).sum()
            terms.append(
                Term(name="fluency", total=total, view=self.fluent_view, per="token", weight=self.fluency_weight)
            )
        return tuple(terms)
