"""Weights moved by an offset, and how far: what step backends share with the wrappers that move weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def squared_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Sum of squares over all tensors, in fp32 (fp64 where the gradients are); shards of one model add up."""
    return torch.stack([wide(gradient).square().sum() for gradient in gradients]).sum()


def perturbed(weights: Sequence[Tensor], epsilons: Sequence[Tensor]) -> list[Tensor]:
    """weights + epsilon, computed wide and rounded once to the weights' own dtype."""
    return [(wide(weight) + epsilon).to(weight.dtype) for weight, epsilon in zip(weights, epsilons, strict=True)]


def realised_squared(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """Squared length of the move that the weights' dtype really made; shards of one model add up."""
    return squared_norm([wide(b) - wide(a) for a, b in zip(before, after, strict=True)])


def wide(tensor: Tensor) -> Tensor:
    detached = tensor.detach()
    return detached if detached.dtype == torch.float64 else detached.float()
