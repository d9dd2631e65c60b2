"""UNDO: unlearn, noise the weights, distil the unlearned model into them (arXiv 2506.06278, section 5).

Behind any method, `npo>undo`: the model that npo leaves is the teacher. The student is a damaged copy of it,

    w <- (1 - alpha) w + alpha beta n,  n uniform in +-sqrt(6 / (inputs + outputs)) for matrices, 0 for vectors,

and learns the teacher's answers, KL(teacher || student) a token. What the method only suppressed is not taught again.
The paper distils on running text of a pre-training mixture; here it is on the benchmark's training rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Needs, NoiseSettings, Step, Term
from unlearn_sweep.methods.token_losses import kl_from_reference


def xavier_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Noise of a weight's shape in fp32: uniform as torch's `xavier_uniform_` for a matrix, or each matrix of a stack
    [experts, out, in]; zeros for a vector.
    """
    if len(shape) < 2:
        return torch.zeros(*shape)
    bound = math.sqrt(6 / (shape[-1] + shape[-2]))
    return (2 * torch.rand(*shape, generator=generator) - 1) * bound


def noised(weight: Tensor, noise: Tensor, *, alpha: float, beta: float) -> Tensor:
    """(1 - alpha) weight + alpha beta noise; alpha 0 is the weight, alpha 1 nothing but noise."""
    return (1 - alpha) * weight + alpha * beta * noise


@dataclass(frozen=True, slots=True, kw_only=True)
class UNDO:
    """`alpha`: how much is damaged. `beta`: length of the noise. `distil_on`: rows the teacher is imitated on."""

    alpha: float = 0.25
    beta: float = 0.1
    distil_on: Literal["both", "retain"] = "both"

    @property
    def views(self) -> tuple[str, ...]:
        return ("forget", "retain") if self.distil_on == "both" else ("retain",)

    def needs(self) -> Needs:
        noise = NoiseSettings(alpha=self.alpha, beta=self.beta)
        return Needs(views=self.views, reference="logits", reference_views=self.views, noise=noise)

    def terms(self, step: Step) -> tuple[Term, ...]:
        return tuple(
            Term(
                name=view,
                total=kl_from_reference(step.reference_logits(view), step.forward(view).logits).sum(),
                view=view,
                per="token",
            )
            for view in self.views
        )
