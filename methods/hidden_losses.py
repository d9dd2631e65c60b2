"""Losses over hidden states at packed supervised positions: the arithmetic of representation misalignment.

Shapes: N positions of B sequences laid end to end, D hidden. Everything is computed in fp32, or in fp64 where the
states are fp64. With N = 0 a function returns an empty tensor that is still connected to the states.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_sweep.methods.token_losses import full_precision, sequence_counts, sequence_sums


def mean_squared_distance(states: Tensor, target: Tensor) -> Tensor:
    """Mean over D of (states - target)^2, [N]; `target` is [D] or [N, D]."""
    return (full_precision(states) - full_precision(target)).square().mean(-1)


ROUNDED = 1e-3
"""Below this share of the target's length a distance counts as its square, for the sake of its gradient."""


def distance(states: Tensor, target: Tensor) -> Tensor:
    """Euclidean length of states - target, [N], rounded off near zero: sqrt(d^2 + r^2) - r, r a thousandth of |target|.

    The plain length has a gradient of length 1 however near the states are, so at the start of a training, where they
    are equal but for rounding, that rounding would decide where to go.
    """
    goal = full_precision(target)
    squared = (full_precision(states) - goal).square().sum(-1)
    edge = ROUNDED * goal.norm(dim=-1)
    inside = squared + edge.square()
    return torch.where(inside > 0, inside.where(inside > 0, 1).sqrt() - edge, squared)


def nudged(states: Tensor, direction: Tensor, share: float) -> Tensor:
    """states + share * |states| * direction (of length 1), [N, D]."""
    wide = full_precision(states)
    return wide + share * wide.norm(dim=-1, keepdim=True) * direction.to(wide.dtype)


def aligned_part(states: Tensor, reference: Tensor) -> Tensor:
    """max(0, cosine of states and reference), [N], in [0, 1]: 0, without a gradient, once they point apart."""
    return F.cosine_similarity(full_precision(states), full_precision(reference), dim=-1).relu()


def sequence_means(values: Tensor, sequence: Tensor, sequences: int) -> Tensor:
    """Mean [B] of `values` [N] over the positions of each sequence; 0 for a sequence without any."""
    return sequence_sums(values, sequence, sequences) / sequence_counts(sequence, sequences).clamp(min=1)


def random_direction(width: int, generator: torch.Generator) -> Tensor:
    """A vector [D] of length 1 with components drawn uniformly from [0, 1), then scaled: all of one sign, as published.

    In fp32 on the generator's device.
    """
    drawn = torch.rand(width, generator=generator, device=generator.device)
    return drawn / drawn.norm()


def layer_at(share: float, depth: int) -> int:
    """The block, from 0, that ends nearest to a share of the depth in (0, 1]. Of 16 blocks, 0.25 is block 3."""
    return min(depth, max(1, round(share * depth))) - 1
