"""Per-token and per-sequence losses over packed supervised positions: the arithmetic every method is made of.

Shapes: N supervised tokens of B sequences laid end to end, V vocabulary entries. All logarithms are natural (nats).
Everything is computed in fp32, or in fp64 where the logits are fp64. With N = 0 a function returns an empty tensor
that is still connected to the logits, so its sum is a zero with a gradient and collectives match across ranks. A
`row_wise` function takes `ChunkedLogits` too, and then never holds [N, V].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_sweep.methods.chunked_logits import row_wise


def full_precision(logits: Tensor) -> Tensor:
    """The logits in fp32; fp64 stays as it is."""
    return logits if logits.dtype == torch.float64 else logits.float()


def log_probs(logits: Tensor) -> Tensor:
    """log softmax of [N, V]."""
    return F.log_softmax(full_precision(logits), dim=-1)


@row_wise
def token_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood [N] of `targets` [N] under `logits` [N, V]; at least 0."""
    return F.cross_entropy(full_precision(logits), targets, reduction="none")


def sequence_sums(values: Tensor, sequence: Tensor, sequences: int) -> Tensor:
    """Sum [B] of `values` [N] over the tokens of each sequence; 0 for a sequence without tokens."""
    return values.new_zeros(sequences).index_add(0, sequence, values)


def sequence_counts(sequence: Tensor, sequences: int) -> Tensor:
    """Number of supervised tokens [B] of each sequence."""
    return torch.bincount(sequence, minlength=sequences)


def positions(sequence: Tensor, sequences: int) -> Tensor:
    """Index [N] of each token among the supervised tokens of its own sequence, from 0. `sequence` is ascending."""
    counts = sequence_counts(sequence, sequences)
    first = torch.cumsum(counts, 0) - counts
    return torch.arange(sequence.numel(), device=sequence.device) - first[sequence]


@row_wise
def soft_cross_entropy(target_probs: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy [N] of `logits` [N, V] against the distributions `target_probs` [N, V]."""
    return -(target_probs * log_probs(logits)).sum(-1)


@row_wise
def kl_from_reference(reference_logits: Tensor, logits: Tensor) -> Tensor:
    """KL(reference || model) [N]: sum over v of p_ref (log p_ref - log p_model); at least 0."""
    reference = log_probs(reference_logits)
    return (reference.exp() * (reference - log_probs(logits))).sum(-1)


@row_wise
def kl_from_uniform(logits: Tensor) -> Tensor:
    """KL(uniform || model) [N] = -ln V - mean over v of log p_v; 0 at maximum entropy."""
    return -math.log(logits.shape[-1]) - log_probs(logits).mean(-1)


@row_wise
def negative_entropy(logits: Tensor) -> Tensor:
    """sum over v of p log p [N], in [-ln V, 0]; -ln V at maximum entropy."""
    log_p = log_probs(logits)
    return (log_p.exp() * log_p).sum(-1)


@row_wise
def jensen_shannon(reference_logits: Tensor, logits: Tensor) -> Tensor:
    """Jensen-Shannon divergence [N] between two models, in [0, ln 2]."""
    p, q = log_probs(reference_logits), log_probs(logits)
    middle = torch.logaddexp(p, q) - math.log(2)
    return 0.5 * (p.exp() * (p - middle) + q.exp() * (q - middle)).sum(-1)


def jensen_shannon_one_hot(nll: Tensor) -> Tensor:
    """Jensen-Shannon divergence [N] between the model and a one-hot target whose NLL under the model is `nll` [N].

    With q = exp(-nll) it is ln 2 + (q ln q - (1 + q) ln(1 + q)) / 2, in [0, ln 2]. Its gradient with respect to the
    target's logit, q (1 - q) ln(q / (1 + q)) / 2, vanishes as q goes to 0.
    """
    q = torch.exp(-nll)
    return math.log(2) - 0.5 * (q * nll + (1 + q) * torch.log1p(q))


@row_wise
def first_choice(logits: Tensor) -> Tensor:
    """The likeliest entry [N] of each token."""
    return logits.argmax(-1)


@row_wise
def negative_log_one_minus_p(logits: Tensor, targets: Tensor) -> Tensor:
    """-log(1 - p(target)) [N], as logsumexp over all entries minus logsumexp over all but the target; at least 0.

    The difference stays exact where p is close to 1, and 1 - p would round to 0.
    """
    scores = full_precision(logits)
    others = scores.scatter(-1, targets[:, None], -math.inf)
    return torch.logsumexp(scores, -1) - torch.logsumexp(others, -1)
