"""Sharpness-aware minimisation: where the weights are moved before the forget gradient is taken (arXiv 2502.05374).

epsilon = rho * g / ||g||, with one norm over all trainable parameters. A sharded run adds the squared norms of its
shards. Add epsilon to fp32 weights: at rho = 0.01 over 7e9 entries it is about 1e-7 an entry, which bf16 weights
swallow. Report `realised_fraction`. To go back, restore saved weights: adding and then subtracting does not return
the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Gradients, Needs, Probe, grouped
from unlearn_sweep.methods.moved_weights import squared_norm, wide


def perturbation(gradients: Sequence[Tensor], rho: float, norm_squared: Tensor) -> list[Tensor]:
    """epsilon for each tensor, at least in fp32; all zero where the gradient is zero. Norm over all shards: rho."""
    scale = torch.where(norm_squared > 0, rho * norm_squared.where(norm_squared > 0, 1).rsqrt(), 0)
    return [wide(gradient) * scale for gradient in gradients]


def realised_fraction(moved: float, rho: float) -> float:
    """Length of the real move over rho: 1 where the perturbation arrived, near 0 where rounding swallowed it.

    Raises:
        ValueError: rho is not positive.
    """
    if rho <= 0:
        raise ValueError(f"rho must be > 0 for a fraction of it to mean anything, got {rho!r}")
    return moved / rho


@dataclass(frozen=True, slots=True, kw_only=True)
class SAM:
    """The forget gradient is taken at the worst point within `sam_rho`; the retain gradient where the weights are."""

    sam_rho: float = 0.01

    def extend(self, needs: Needs) -> Needs:
        return grouped(needs)

    def reshape(self, gradients: Gradients, probe: Probe) -> Gradients:
        if self.sam_rho == 0:
            return gradients
        offsets = perturbation(gradients.forget, self.sam_rho, probe.total(squared_norm(gradients.forget)))
        moved = probe.gradient("forget", offsets)
        probe.report("sam_realised_fraction", realised_fraction(probe.realised_length, self.sam_rho))
        return Gradients(forget=moved, retain=gradients.retain)
