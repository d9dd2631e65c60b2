"""Randomised smoothing of the forget objective: its gradient averaged over Gaussian moves of the weights (2502.05374).

The published code's optimizer steps twice a batch in this mode; here it steps once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Gradients, Needs, Probe, grouped


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSmoothing:
    """`rs_std` is per entry of a weight; `rs_draws` moves a step."""

    rs_std: float = 0.001
    rs_draws: int = 3

    def extend(self, needs: Needs) -> Needs:
        return grouped(needs)

    def reshape(self, gradients: Gradients, probe: Probe) -> Gradients:
        if self.rs_std == 0:
            return gradients
        generator = probe.generator("rs")
        total: list[Tensor] = [torch.zeros_like(gradient) for gradient in gradients.forget]
        for _ in range(self.rs_draws):
            moved = probe.gradient("forget", [self.rs_std * drawn for drawn in probe.normal(generator)])
            total = [held + new for held, new in zip(total, moved, strict=True)]
        return Gradients(forget=[gradient / self.rs_draws for gradient in total], retain=gradients.retain)
