"""Combine a method's terms into the scalar loss: sums divided by their counts over the whole global batch.

With T_k a term's sum over this micro-batch, n_k its count over the global batch, and W ranks that average gradients,

    loss = sum_k weight_k * T_k * W / n_k

so the gradient of a step does not depend on how the global batch is split over ranks and micro-batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.methods.interface import Term


class MethodError(RuntimeError):
    """A method violated its contract with the training loop."""


def term_count(term: Term, batch: Mapping[str, Sequence[Item]], micro_batches: int = 1) -> int:
    """Return the divisor of a term's total, at least 1.

    It is the number of sequences or of supervised tokens of the term's view in the global batch, or `micro_batches`,
    the number of micro-batches over all ranks.

    Raises:
        MethodError: the method does not declare the term's view.
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
    """Return the scalar loss of one micro-batch.

    Args:
        terms: The method's terms for this micro-batch.
        counts: Each term's count over the global batch, by name.
        world_size: Number of ranks.
        squares: The global mean m of every squared term, by name. The term enters as 2 m times itself, which has the
            gradient of its square.

    Raises:
        MethodError: there are no terms, or two have the same name.
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
