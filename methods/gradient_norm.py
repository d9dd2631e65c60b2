"""Gradient-norm penalty on the forget objective: flat where it is low (GNR in arXiv 2502.05374).

The gradient of |g| is H g / |g|. It is taken as a difference, (g(w + r g/|g|) - g(w)) / r, which needs one more
ordinary backward instead of a double one. The published code takes the norm's number out of the graph, so its penalty
has no gradient at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.interface import Gradients, Needs, Probe, grouped
from unlearn_sweep.methods.moved_weights import squared_norm
from unlearn_sweep.methods.sam import perturbation


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientNorm:
    """Adds `gnr_weight` times the norm of the forget gradient; `gnr_radius` is the length r of the difference."""

    gnr_weight: float = 0.01
    gnr_radius: float = 0.01

    def extend(self, needs: Needs) -> Needs:
        return grouped(needs)

    def reshape(self, gradients: Gradients, probe: Probe) -> Gradients:
        if self.gnr_weight == 0:
            return gradients
        norm_squared = probe.total(squared_norm(gradients.forget))
        probe.report("forget_gradient_norm", float(norm_squared.sqrt()))
        moved = probe.gradient("forget", perturbation(gradients.forget, self.gnr_radius, norm_squared))
        factor = self.gnr_weight / self.gnr_radius
        forget = [here + factor * (there - here) for here, there in zip(gradients.forget, moved, strict=True)]
        return Gradients(forget=forget, retain=gradients.retain)
