"""From a method's terms to the scalar that is differentiated: sums divided by the counts of the whole global batch.

With T_k a term's sum over this micro-batch, n_k its count over the global batch, and W ranks that average gradients,

    loss = sum_k weight_k * T_k * W / n_k

so the gradient of a step is that of the global batch as one piece, however it is spread over ranks and micro-batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.methods.interface import Term


class MethodError(RuntimeError):
    """A method gave the driver something its contract does not allow."""


def term_count(term: Term, batch: Mapping[str, Sequence[Item]], micro_batches: int = 1) -> int:
    """What a term's total is divided by: sequences or supervised tokens of its view in the global batch, or its
    `micro_batches` over all ranks; at least 1.
    """
    if term.view not in batch:
        raise MethodError(f"term {term.name!r} is counted over view {term.view!r}, which needs() does not list")
    if term.per == "micro_batch":
        return micro_batches
    items = batch[term.view]
    if term.per == "sequence":
        return max(1, len(items))
    return max(1, sum(max(0, item.supervised - term.skip_tokens) for item in items))


def loss_of(
    terms: Sequence[Term], counts: Mapping[str, int], world_size: int, squares: Mapping[str, float] | None = None
) -> Tensor:
    """The scalar of one micro-batch. `counts` maps a term's name to its count over the global batch.

    `squares` has the global mean m of every squared term; 2 m times the term then has the gradient of its square.
    """
    if not terms:
        raise MethodError("the method returned no terms, so there is nothing to train on")
    if len(counts) != len(terms):
        raise MethodError(f"terms must have different names; got {[term.name for term in terms]}")
    parts = []
    for term in terms:
        factor = term.weight * world_size / counts[term.name]
        if term.squared:
            factor *= 2 * (squares or {})[term.name]
        parts.append(term.total * factor)
    return torch.stack(parts).sum()
