"""Noise on the weights that a training starts from, the same however many ranks share them."""

from __future__ import annotations

import torch
from torch import nn

from unlearn_sweep.engine.training.batches import seed_of
from unlearn_sweep.engine.zero.shards import is_sharded, own_part, part_of, whole_shape
from unlearn_sweep.methods.interface import NoiseSettings
from unlearn_sweep.methods.undo import noised, xavier_noise


@torch.no_grad()
def put_noise(model: nn.Module, settings: NoiseSettings, seed: int) -> None:
    """Damage every weight in place, computed in float32. Each weight's noise depends on seed and name alone."""
    for name, weight in model.named_parameters():
        generator = torch.Generator().manual_seed(seed_of(seed, "noise", name))
        noise = xavier_noise(tuple(whole_shape(weight)), generator)
        held = own_part(weight) if is_sharded(weight) else weight
        part = part_of(weight, noise).to(held.device)
        held.copy_(noised(held.float(), part, alpha=settings.alpha, beta=settings.beta))
