"""Weights moved by an offset, and how far, and gradients smoothed over steps: what backends and wrappers share."""

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


def smoothed(held: Sequence[Tensor] | None, new: Sequence[Tensor], share: float) -> list[Tensor]:
    """share * new + (1 - share) * held for each tensor, at least in fp32; `held` counts as zero where there is none."""
    scaled = [share * wide(tensor) for tensor in new]
    if held is None:
        return scaled
    return [part + (1 - share) * before for part, before in zip(scaled, held, strict=True)]


def wide(tensor: Tensor) -> Tensor:
    detached = tensor.detach()
    return detached if detached.dtype == torch.float64 else detached.float()
