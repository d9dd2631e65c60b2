"""A method as a project's released code computes it, where that differs from the paper: to compare with, not to use.

Every project divides by the counts of a micro-batch and averages those means, so a loss depends on how the batch was
split; `AsPublished` does so for every term. What differs beyond that is in `FORGET` and in `kl_everywhere`:

npo      gao, unlearn-smooth: one sigmoid over the batch's mean; unlearn-smooth-muse: differences of raw logits
simnpo   open-unlearning: labels counted before the shift, one too many where a sequence has no prompt
undial   open-unlearning, gao: prompt and padding count; at those places the logit of entry V - 100 is lowered
pdu      open-unlearning: the mask is not shifted against the logits
jensun   jensun: probabilities clamped at 1e-9, so that a target below that is not learnt; jensun_kl the same
me       tar: the negative entropy at every place, prompt and padding among them
rmu      open-unlearning, jensun, gao: unshifted mask, and sequences of unlike length mix; wmdp: every place counts
kl       (retain term) open-unlearning: prompt and padding count; gao: divided by the vocabulary's size besides

Sources: locuslab/open-unlearning, nmndeep/JensUn-Unlearning, Zhong-Zhengyi/Ignore (gao), OPTML-Group/Unlearn-Smooth
(its WMDP and its MUSE part differ), rishub-tamirisa/tamper-resistance (tar), and the original WMDP code of RMU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_sweep.methods.chunked_logits import row_wise
from unlearn_sweep.methods.hidden_losses import mean_squared_distance, random_direction
from unlearn_sweep.methods.interface import IGNORED, Method, Needs, Padded, Reference, StatefulMethod, Step, Term
from unlearn_sweep.methods.jensun import JensUn, target_tensor
from unlearn_sweep.methods.jensun_kl import JensUnKL
from unlearn_sweep.methods.kl_min import KLMin
from unlearn_sweep.methods.me import ME
from unlearn_sweep.methods.npo import NPO
from unlearn_sweep.methods.pdu import PDU, logit_margin
from unlearn_sweep.methods.reduction import counts, preference_loss, reduce_sums, sequence_nll
from unlearn_sweep.methods.rmu import RMU
from unlearn_sweep.methods.simnpo import SimNPO
from unlearn_sweep.methods.token_losses import (
    full_precision,
    kl_from_reference,
    log_probs,
    negative_entropy,
    positions,
    soft_cross_entropy,
)
from unlearn_sweep.methods.undial import UNDIAL

CLAMPED_AT = 1e-9


@dataclass(frozen=True, slots=True)
class Deviation:
    """One term as a project computes it: a mean over the micro-batch, from a method and its step.

    `padded` are the views it reads at every place; `reference` what it asks of the start model beyond the method's own.
    """

    term: str
    value: Callable[[Any, Step], Tensor]
    padded: tuple[str, ...] = ()
    reference: Reference = "none"


@dataclass(frozen=True, slots=True)
class AsPublished:
    """`base` with every mean taken over micro-batches, and with the deviations of `project`."""

    base: Method
    project: str

    def needs(self) -> Needs:
        needs, found = self.base.needs(), deviations(self.base, self.project)
        references = [deviation.reference for deviation in found if deviation.reference != "none"]
        return replace(
            needs,
            padded=tuple(dict.fromkeys(view for deviation in found for view in deviation.padded)),
            reference=references[0] if references else needs.reference,
        )

    def terms(self, step: Step) -> tuple[Term, ...]:
        own = {deviation.term: deviation for deviation in deviations(self.base, self.project)}
        terms = []
        for term in self.base.terms(step):
            if term.name in own:
                total = own[term.name].value(self.base, step)
                terms.append(replace(term, total=total, per="micro_batch", skip_tokens=0))
            else:
                terms.append(over_micro_batch(term, step))
        return tuple(terms)


@dataclass(frozen=True, slots=True)
class StatefulAsPublished(AsPublished):
    """The same for a method that keeps state between steps."""

    def after_step(self, step: Step, reduced: Mapping[str, float]) -> None:
        """Once an optimizer step also here; open-unlearning moves PDU's dual variable in every micro-batch."""
        cast("StatefulMethod", self.base).after_step(step, reduced)


def as_published(base: Method, project: str) -> AsPublished:
    """`base` as the code of `project` computes it."""
    return (StatefulAsPublished if base.needs().state else AsPublished)(base, project)


def deviations(base: Method, project: str) -> Sequence[Deviation]:
    """What `project` computes otherwise in this method, at its parameters."""
    forget = FORGET.get((type(base), project), ())
    kind = "kl" if isinstance(base, KLMin) else getattr(base, "retain", "none")
    weight = getattr(base, "retain_weight", 0.0)
    if kind == "kl" and weight != 0 and project in ("open-unlearning", "gao"):
        share = kl_per_entry if project == "gao" else kl_everywhere
        return (*(deviation for deviation in forget if deviation.term != "retain"), Deviation("retain", share, RETAIN))
    held = kind == "embed_mse" and weight != 0
    return tuple(deviation for deviation in forget if deviation.term != "retain" or held)


def over_micro_batch(term: Term, step: Step) -> Term:
    """The same term as a mean over this micro-batch."""
    batch = step.forward(term.view)
    own = batch.sequences if term.per == "sequence" else int((counts(batch) - term.skip_tokens).clamp(min=0).sum())
    return replace(term, total=term.total / max(1, own), per="micro_batch", skip_tokens=0)


# --- every place counts -----------------------------------------------------------------------------------------------


def mean(values: Tensor) -> Tensor:
    """Mean of all values; of none, a zero that is connected to the graph."""
    return values.sum() / max(1, values.numel())


def kl_everywhere(base: Method, step: Step) -> Tensor:
    """KL(original || model) over all B * T places of the retain batch, prompt and padding among them."""
    return mean(kl_from_reference(step.reference_padded("retain").logits, step.padded("retain").logits))


def kl_per_entry(base: Method, step: Step) -> Tensor:
    """The same divided by the vocabulary's size: torch's reduction "mean" of a divergence."""
    return kl_everywhere(base, step) / step.padded("retain").logits.shape[-1]


def raw_logit_npo(base: NPO, step: Step) -> Tensor:
    """NPO on the differences of raw logits, of every vocabulary entry at every place: no likelihood ratio at all."""
    now, before = step.padded("forget").logits, step.reference_padded("forget").logits
    return raw_logit_losses(before, now, beta=base.beta).sum() / max(1, now.numel())


@row_wise
def raw_logit_losses(before: Tensor, now: Tensor, *, beta: float) -> Tensor:
    """NPO's loss of the difference of each raw logit [N, V], summed to [N]."""
    margin = full_precision(before) - full_precision(now)
    return (-(2 / beta) * F.logsigmoid(beta * margin)).sum(-1)


def undial_everywhere(base: UNDIAL, step: Step) -> Tensor:
    """UNDIAL over all B * (T - 1) places; the label -100 is taken as an index, so entry V - 100 is lowered there.

    Raises:
        ValueError: the vocabulary has fewer than 100 entries, where the published code fails too.
    """
    now, before = step.padded("forget"), step.reference_padded("forget")
    labels, entries = now.labels[:, 1:], now.logits.shape[-1]
    if entries + IGNORED < 0:
        raise ValueError(f"undial as published lowers the logit of entry V - 100; this vocabulary has {entries} only")
    losses = lowered_loss(before.logits[:, :-1], now.logits[:, :-1], labels.remainder(entries), beta=base.beta)
    return mean(losses)


@row_wise
def lowered_loss(reference: Tensor, logits: Tensor, entries: Tensor, *, beta: float) -> Tensor:
    """CE of logits [..., V] to softmax(reference with the logit of `entries` [...] lowered by beta), [...]."""
    wide = full_precision(reference)
    lowered = wide.scatter_add(-1, entries[..., None], torch.full_like(wide[..., :1], -beta))
    return soft_cross_entropy(torch.softmax(lowered, -1), logits)


def entropy_everywhere(base: ME, step: Step) -> Tensor:
    """Negative entropy over all B * T places."""
    return mean(negative_entropy(step.padded("forget").logits))


def unshifted_margin(base: PDU, step: Step) -> Tensor:
    """PDU's margin at the places of the labels: one place after the logits that predict them."""
    padded = step.padded("forget")
    return mean(logit_margin(padded.logits[padded.labels != IGNORED]))


def batch_mean_npo(base: NPO, step: Step) -> Tensor:
    """NPO with one sigmoid over the batch's token mean: answers share a weight, and beta loses their length."""
    batch = step.forward("forget")
    margin = reduce_sums(sequence_nll(batch) - step.reference_nll("forget"), counts(batch), "token_mean_batch")
    return preference_loss(margin, counts(batch), beta=base.beta) / max(1, batch.sequences)


def counted_before_the_shift(base: SimNPO, step: Step) -> Tensor:
    """SimNPO whose mean divides by all labels, of which the first predicts nothing where a sequence has no prompt."""
    batch, labels = step.forward("forget"), step.padded("forget").labels
    tokens = (labels != IGNORED).sum(-1)
    margin = sequence_nll(batch) / tokens.clamp(min=1) - base.delta
    return preference_loss(margin, tokens, beta=base.beta) / max(1, batch.sequences)


def clamped_jensun(base: JensUn, step: Step) -> Tensor:
    """JensUn's forget term with every probability clamped at 1e-9 before its logarithm."""
    return mean(clamped_jsd(*laid_out(base, step)))


def clamped_jensun_kl(base: JensUnKL, step: Step) -> Tensor:
    """KL(target || model) with every probability of both clamped at 1e-9: all entries of the vocabulary count."""
    return mean(clamped_kl(*laid_out(base, step)))


def laid_out(base: JensUn | JensUnKL, step: Step) -> tuple[Tensor, Tensor]:
    """The forget batch's logits [N, V], and the target's token [N] for each of its places."""
    batch = step.forward("forget")
    ids = target_tensor(step, base.target, batch.targets)
    return batch.logits, ids[positions(batch.sequence, batch.sequences) % ids.numel()]


@row_wise
def clamped_jsd(logits: Tensor, targets: Tensor) -> Tensor:
    """Jensen-Shannon divergence [N] between the model and one-hot targets [N], both clamped."""
    p, q = clamped_pair(logits, targets)
    middle = ((p + q) / 2).log()
    return 0.5 * (p * (p.log() - middle) + q * (q.log() - middle)).sum(-1)


@row_wise
def clamped_kl(logits: Tensor, targets: Tensor) -> Tensor:
    """KL(target || model) [N] of one-hot targets [N], both clamped."""
    p, q = clamped_pair(logits, targets)
    return (q * (q.log() - p.log())).sum(-1)


def clamped_pair(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The model's probabilities and the one-hot targets [N, V], each clamped at 1e-9."""
    p = log_probs(logits).exp().clamp(min=CLAMPED_AT)
    return p, torch.zeros_like(p).scatter(-1, targets[:, None], 1.0).clamp(min=CLAMPED_AT)


# --- hidden states ----------------------------------------------------------------------------------------------------


def mixed_lengths(padded: Padded, values: Tensor) -> Tensor:
    """Mean over sequences of their sums [B] times the mean of one over their counts: [B] divided by [B, 1].

    `values` [B, T] are taken at the labels' own places.
    """
    kept = padded.labels != IGNORED
    sums, tokens = (values * kept).sum(-1), kept.sum(-1).clamp(min=1)
    return mean(sums) * mean(1 / tokens)


def every_place(padded: Padded, values: Tensor) -> Tensor:
    """Plain mean of [B, T], padding included."""
    return mean(values)


def steered(average: Callable[[Padded, Tensor], Tensor]) -> Callable[[RMU, Step], Tensor]:
    """RMU's forget term under another average."""

    def value(base: RMU, step: Step) -> Tensor:
        padded = step.padded("forget")
        states = padded.hidden[step.layers()[0]]
        direction = random_direction(states.shape[-1], step.generator("direction", same_every_step=True))
        return average(padded, mean_squared_distance(states, base.steering * direction))

    return value


def held(average: Callable[[Padded, Tensor], Tensor]) -> Callable[[RMU, Step], Tensor]:
    """RMU's retain term under another average."""

    def value(base: RMU, step: Step) -> Tensor:
        padded, layer = step.padded("retain"), step.layers()[0]
        before = step.reference_padded("retain").hidden[layer]
        return average(padded, mean_squared_distance(padded.hidden[layer], before))

    return value


FORGET_VIEW, RETAIN = ("forget",), ("retain",)

_MIXED = (
    Deviation("forget", steered(mixed_lengths), FORGET_VIEW),
    Deviation("retain", held(mixed_lengths), RETAIN),
)
_UNDIAL = (Deviation("forget", undial_everywhere, FORGET_VIEW),)
_BATCH_MEAN = (Deviation("forget", batch_mean_npo),)

FORGET: Mapping[tuple[type, str], tuple[Deviation, ...]] = MappingProxyType(
    {
        (NPO, "gao"): _BATCH_MEAN,
        (NPO, "unlearn-smooth"): _BATCH_MEAN,
        (NPO, "unlearn-smooth-muse"): (Deviation("forget", raw_logit_npo, FORGET_VIEW, "logits"),),
        (SimNPO, "open-unlearning"): (Deviation("forget", counted_before_the_shift, FORGET_VIEW),),
        (UNDIAL, "open-unlearning"): _UNDIAL,
        (UNDIAL, "gao"): _UNDIAL,
        (PDU, "open-unlearning"): (Deviation("forget", unshifted_margin, FORGET_VIEW),),
        (ME, "tar"): (Deviation("forget", entropy_everywhere, FORGET_VIEW),),
        (JensUn, "jensun"): (Deviation("forget", clamped_jensun),),
        (JensUnKL, "jensun"): (Deviation("forget", clamped_jensun_kl),),
        (RMU, "open-unlearning"): _MIXED,
        (RMU, "jensun"): _MIXED,
        (RMU, "gao"): _MIXED,
        (RMU, "wmdp"): (
            Deviation("forget", steered(every_place), FORGET_VIEW),
            Deviation("retain", held(every_place), RETAIN),
        ),
    }
)
"""What each project computes otherwise in a method's own terms."""
