"""Curvature regularisation of the forget objective: its gradient changes little nearby (CR in arXiv 2502.05374).

The penalty is |d|, d = g(w + r v) - g(w) with v = g / |g| held constant, as in CURE (arXiv 1811.09716). Its gradient is
(H(w + r v) - H(w)) d / |d|; both products are taken as differences over the radius r along d / |d|, so a step takes
three more ordinary backwards and no double one. A quadratic has no such gradient: its curvature is the same everywhere.
The published code takes the norm's number out of the graph, so its penalty has no gradient at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.interface import Gradients, Needs, Probe, grouped
from unlearn_sweep.methods.moved_weights import squared_norm
from unlearn_sweep.methods.sam import perturbation


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvatureRegularisation:
    """Adds `cr_weight` times the change of the forget gradient over `cr_radius`."""

    cr_weight: float = 0.01
    cr_radius: float = 0.01

    def extend(self, needs: Needs) -> Needs:
        return grouped(needs)

    def reshape(self, gradients: Gradients, probe: Probe) -> Gradients:
        if self.cr_weight == 0:
            return gradients
        here = gradients.forget
        move = perturbation(here, self.cr_radius, probe.total(squared_norm(here)))
        there = probe.gradient("forget", move)
        change = [after - before for after, before in zip(there, here, strict=True)]
        change_squared = probe.total(squared_norm(change))
        probe.report("forget_gradient_change", float(change_squared.sqrt()))
        nudge = perturbation(change, self.cr_radius, change_squared)
        beyond = probe.gradient("forget", [one + other for one, other in zip(move, nudge, strict=True)])
        beside = probe.gradient("forget", nudge)
        factor = self.cr_weight / self.cr_radius
        forget = [
            now + factor * ((far - moved) - (near - now))
            for now, moved, far, near in zip(here, there, beyond, beside, strict=True)
        ]
        return Gradients(forget=forget, retain=gradients.retain)
