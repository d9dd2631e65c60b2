"""CIR, collapse of irrelevant representations: what forget rows have in common with everything is left alone.

Method of the repository filyp/unlearning (src/CIR.py; follows MUDMAN, arXiv 2506.12484). The gradient of a linear
layer's weight is the sum over tokens of g a^T, of the gradient g at its outputs and its inputs a. Before the sum, from
both is taken what is common to forget tokens: their mean direction m, then their first principal components v_i,

    a <- a - (a m) m / |m|^2,  a <- a - sum_i (a v_i) v_i,  and g in the same way

so that a step moves the weights for what tells these tokens apart and not for what all text needs. Means and components
are those of the steps before; up to the first of them nothing is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import CollapseSettings, Common, Needs

NEGLIGIBLE = 1e-6
"""Share of the largest variance below which a component is rounding, and is not taken out."""


def common_directions(total: Tensor, products: Tensor, count: float, number: int) -> Common:
    """Mean direction and the first `number` - 1 principal components of vectors, from their sums.

    `total` [D] is their sum, `products` [D, D] the sum of x x^T, `count` how many there are. Components without
    variance are left out. With `number` 0 or without vectors nothing is common.
    """
    width = total.shape[0]
    if number == 0 or count == 0:
        return Common(torch.zeros_like(total), total.new_zeros(0, width))
    mean = total / count
    covariance = products / count - mean[:, None] * mean
    variances, vectors = torch.linalg.eigh(covariance.double())
    kept = [
        place
        for place in range(width - 1, max(-1, width - number), -1)
        if variances[place] > NEGLIGIBLE * variances[-1] > 0
    ]
    length = mean.norm()
    direction = mean / length if length > 0 else torch.zeros_like(mean)
    return Common(direction, vectors.T[kept].to(total.dtype).contiguous())  # a resume gives the same bits


def without_common(vectors: Tensor, common: Common) -> Tensor:
    """`vectors` [..., D] without their parts along the mean direction and then along the components."""
    left = vectors - (vectors @ common.mean)[..., None] * common.mean
    return left - (left @ common.components.T) @ common.components


@dataclass(frozen=True, slots=True, kw_only=True)
class CIR:
    """`cir_inputs`, `cir_gradients`: directions taken out, the mean among them; `cir_refresh`: share of the training
    after which they are computed anew.
    """

    cir_inputs: int = 24
    cir_gradients: int = 36
    cir_refresh: float = 0.1

    def extend(self, needs: Needs) -> Needs:
        settings = CollapseSettings(
            inputs=self.cir_inputs, gradients=self.cir_gradients, refresh=self.cir_refresh, common=common_directions,
            remove=without_common,
        )  # fmt: skip
        return replace(needs, gradients="grouped", collapse=settings)
