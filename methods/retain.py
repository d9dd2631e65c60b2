"""What a method does to keep the rest: the retain term, shared by every method that has one.

nll        token-mean negative log-likelihood of the retain answers
kl         token-mean KL(original || model) over the retain answers, supervised positions only
jsd        token-mean Jensen-Shannon divergence between original and model, at most ln 2 (JensUn, arXiv 2509.02820)
embed_mse  token-mean squared distance to the original model's last hidden state, mean over its components
hidden_l2  token-mean Euclidean distance to the original model's hidden states, mean over all layers (RR, TAR)
ap         answer preservation at beta 0.1: the answer stays likelier than a refusal (IDK+AP, arXiv 2410.08109)
none       no retain term; neither does a weight of 0 read the retain set
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from unlearn_sweep.methods.answer_preservation import preservation_term
from unlearn_sweep.methods.hidden_losses import distance, mean_squared_distance
from unlearn_sweep.methods.interface import Needs, Reference, Step, Term
from unlearn_sweep.methods.token_losses import jensen_shannon, kl_from_reference, token_nll

Retain = Literal["nll", "kl", "jsd", "embed_mse", "hidden_l2", "ap", "none"]
RETAIN_TERMS = get_args(Retain)
PRESERVATION_BETA = 0.1
LAST_LAYER = (1.0,)
Measure = Callable[[Tensor, Tensor], Tensor]
"""From states [N, D] and the original model's to a value [N]."""


def retain_needs(
    kind: Retain,
    weight: float,
    *,
    views: tuple[str, ...] = ("forget",),
    reference: Reference = "none",
    reference_views: tuple[str, ...] = (),
) -> Needs:
    """The needs of a method whose own needs are given, with those of its retain term."""
    if kind == "none" or weight == 0:
        return Needs(views=views, reference=reference, reference_views=reference_views)
    added = ("retain", "retain_idk") if kind == "ap" else ("retain",)
    if kind in ("kl", "jsd"):
        reference = "logits"
    if kind in ("embed_mse", "hidden_l2"):
        reference = "hidden" if reference == "none" else "logits"  # the frozen model's logits come with its states
    if kind not in ("nll", "ap"):
        reference_views = (*reference_views, "retain")
    return Needs(
        views=(*views, *(view for view in added if view not in views)),
        reference=reference,
        reference_views=reference_views,
        layers={"embed_mse": LAST_LAYER, "hidden_l2": "all"}.get(kind, ()),
    )


def retain_terms(kind: Retain, step: Step, weight: float) -> tuple[Term, ...]:
    """The retain term of one step; empty for "none" and for a weight of 0."""
    if kind == "none" or weight == 0:
        return ()
    return (retain_term(kind, step, weight),)


def retain_term(kind: Retain, step: Step, weight: float) -> Term:
    """One retain term, per token of view "retain"; for "ap" per sequence.

    Raises:
        ValueError: `kind` has no term ("none" or an unknown word).
    """
    if kind == "ap":
        return preservation_term(step, beta=PRESERVATION_BETA, reduction="sequence_sum", weight=weight)
    batch = step.forward("retain")
    if kind == "nll":
        losses = token_nll(batch.logits, batch.targets)
    elif kind == "kl":
        losses = kl_from_reference(step.reference_logits("retain"), batch.logits)
    elif kind == "jsd":
        losses = jensen_shannon(step.reference_logits("retain"), batch.logits)
    elif kind in ("embed_mse", "hidden_l2"):
        measure = mean_squared_distance if kind == "embed_mse" else distance
        return hidden_retain_term(step, step.layers(), measure, weight)
    else:
        raise ValueError(f"retain {kind!r}: expected one of {', '.join(RETAIN_TERMS[:-1])}")
    return Term(name="retain", total=losses.sum(), view="retain", per="token", weight=weight)


def hidden_retain_term(step: Step, layers: tuple[int, ...], measure: Measure, weight: float) -> Term:
    """Mean over `layers` of how far the retain states are from the original model's, per token."""
    now, before = step.forward("retain").hidden, step.reference_hidden("retain")
    total = torch.stack([measure(now[layer], before[layer]).sum() for layer in layers]).mean()
    return Term(name="retain", total=total, view="retain", per="token", weight=weight)
