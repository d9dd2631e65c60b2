"""From token values to one number a sequence. Losses of this field differ mainly here, so the choice is a parameter.

sequence_sum      S_b, the sum over the answer's tokens: a likelihood ratio's unit, so beta depends on answer length
sequence_mean     S_b / n_b
token_mean_batch  sum of S_b / sum of n_b over the micro-batch: one number for all its sequences. Some published
                  code does this; the loss then depends on how the batch is split: for comparison only.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_sweep.methods.interface import Supervised
from unlearn_sweep.methods.token_losses import sequence_counts, sequence_sums, token_nll

Reduction = Literal["sequence_sum", "sequence_mean", "token_mean_batch"]


def sequence_nll(batch: Supervised) -> Tensor:
    """Summed negative log-likelihood [B] of each sequence, in nats."""
    return sequence_sums(token_nll(batch.logits, batch.targets), batch.sequence, batch.sequences)


def counts(batch: Supervised) -> Tensor:
    """Number of supervised tokens [B] of each sequence."""
    return sequence_counts(batch.sequence, batch.sequences)


def pair_counts(first: Supervised, second: Supervised) -> Tensor:
    """Tokens [B] of the two answers to each row's question; 0 where either answer has none.

    Raises:
        ValueError: the batches have different numbers of rows, so they cannot be answers to the same questions.
    """
    if first.sequences != second.sequences:
        raise ValueError(
            f"a pair loss got {first.sequences} and {second.sequences} sequences; "
            "both views must hold the same rows in the same order"
        )
    a, b = counts(first), counts(second)
    return torch.where((a > 0) & (b > 0), a + b, 0)


def reduced_nll(batch: Supervised, reduction: Reduction) -> Tensor:
    """Negative log-likelihood [B] of each sequence, reduced."""
    return reduce_sums(sequence_nll(batch), counts(batch), reduction)


def reduce_sums(sums: Tensor, tokens: Tensor, reduction: Reduction) -> Tensor:
    """`sums` [B] over sequences of `tokens` [B] tokens, reduced to [B]; 0 for a sequence without tokens."""
    if reduction == "sequence_sum":
        return sums
    if reduction == "sequence_mean":
        return sums / tokens.clamp(min=1)
    if reduction == "token_mean_batch":
        return (sums.sum() / tokens.sum().clamp(min=1)).expand_as(sums)
    raise ValueError(f"reduction {reduction!r}: expected sequence_sum, sequence_mean or token_mean_batch")


def preference_loss(margin: Tensor, tokens: Tensor, *, beta: float, factor: float = 2.0) -> Tensor:
    """-(factor / beta) log sigmoid(beta * margin), summed over the sequences that have tokens.

    `margin` [B] grows as unlearning succeeds; a sequence without supervised tokens adds a zero, connected to the graph.
    """
    losses = -(factor / beta) * F.logsigmoid(beta * margin)
    return torch.where(tokens > 0, losses, 0 * margin).sum()
