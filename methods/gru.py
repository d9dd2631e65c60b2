"""GRU, gradient rectified unlearning: forget only along directions that leave the retain loss alone (arXiv 2503.09117).

The forget gradient loses its part against the retain gradient, so that to first order a step does not raise the retain
loss:

    g = g_f - min(0, <g_f, m>) m / |m|^2,   m <- gamma g_r + (1 - gamma) m

m smooths the retain gradient over steps. As published the retain gradient is a limit and no goal: it is not added.
`surgery` with `protect_retain` is the same projection with gamma 1 and the retain gradient added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from unlearn_sweep.methods.interface import Gradients, Needs, Probe, grouped
from unlearn_sweep.methods.moved_weights import smoothed
from unlearn_sweep.methods.surgery import combine, inner_products, weights

MEMORY = "gru"


@dataclass(frozen=True, slots=True, kw_only=True)
class GRU:
    """`gru_gamma`: share of this step's retain gradient in the smoothed one; `gru_retain`: limit it, or train on it."""

    gru_gamma: float = 0.8
    gru_retain: Literal["limit", "added"] = "limit"

    def extend(self, needs: Needs) -> Needs:
        return grouped(needs)

    def reshape(self, gradients: Gradients, probe: Probe) -> Gradients:
        retain = smoothed(probe.remembered(MEMORY), gradients.retain, self.gru_gamma)
        probe.remember(MEMORY, retain)
        products = probe.total(inner_products(gradients.forget, retain).sum(0))
        probe.report("forget_against_retain", float(products[0] < 0))
        # `weights` gives the factors of a sum with the retain gradient itself, which counts once: it is taken off.
        factors = weights(products, "protect_retain") - products.new_tensor([0.0, 1.0])
        rectified = combine(gradients.forget, retain, factors)
        kept = gradients.retain if self.gru_retain == "added" else [torch.zeros_like(g) for g in gradients.retain]
        return Gradients(forget=rectified, retain=kept)
