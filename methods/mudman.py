"""MUDMAN's masking and normalisation: forget only with weights that the retain loss wants moved the same way.

arXiv 2506.12484 (released code filyp/MUDMAN). With m the retain gradient smoothed over steps,

    g = length |m| / |g_f| * g_f [sign(g_f) = sign(m)] + m,   m <- momentum m + (1 - momentum) g_r

so no weight moves against the retain loss to first order. The release takes g_f at an adversary that relearns: put
`tar` around the method too. Its two learning rates are one here, times `mudman_length`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Gradients, Needs, Probe, grouped
from unlearn_sweep.methods.moved_weights import smoothed, squared_norm

MEMORY = "mudman"
NOISE = 1e-6
"""Length of the retain gradient, in lengths of the forget gradient, below which its signs are rounding errors.

That is the case for KL to a model that has not moved yet. No share is reported there, and the masked gradient, scaled
to that length, moves nothing.
"""


def undisruptive(forget: Sequence[Tensor], retain: Sequence[Tensor]) -> list[Tensor]:
    """The forget gradient at the entries where the retain gradient has the same sign, else 0; a zero has no sign."""
    return [f * (f.sign() * r.sign() > 0) for f, r in zip(forget, retain, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MUDMAN:
    """`mudman_length`: of the forget gradient before masking, in lengths of the smoothed retain gradient."""

    mudman_length: float = 1.0
    mudman_momentum: float = 0.9

    def extend(self, needs: Needs) -> Needs:
        return grouped(needs)

    def reshape(self, gradients: Gradients, probe: Probe) -> Gradients:
        retain = smoothed(probe.remembered(MEMORY), gradients.retain, 1 - self.mudman_momentum)
        probe.remember(MEMORY, retain)
        masked = undisruptive(gradients.forget, retain)
        parts = (gradients.forget, retain, masked)
        forget_squared, retain_squared, masked_squared = probe.total(torch.stack([squared_norm(one) for one in parts]))
        if forget_squared > 0:
            if retain_squared > NOISE**2 * forget_squared:
                probe.report("mudman_kept_share", float((masked_squared / forget_squared).sqrt()))
            factor = self.mudman_length * (retain_squared / forget_squared).sqrt()
            masked = [factor.to(gradient.dtype) * gradient for gradient in masked]
        return Gradients(forget=masked, retain=retain)
