"""GPTQ: round one input's weights after the other, and move the others so that the layer's outputs change least.

Source: Frantar et al., arXiv 2210.17323, algorithm 1. With H the sum of x x^T over calibration inputs, rounding weight
j of a row by an error e changes the outputs least if the weights that are not rounded yet move by
-e (H^-1)_jR / (H^-1)_jj, where H is that of those weights alone; the rows of the upper Cholesky factor of H^-1 have it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unlearn_sweep.evaluators.attacks.quantize_params import Granularity

AT_ONCE = 128
"""Columns whose errors are added up before they reach the columns behind them."""
DAMPING = 0.01
"""Share of H's mean diagonal that is added to it: the released code's."""


def gptq_codes(
    weight: Tensor, hessian: Tensor, bits: int, granularity: Granularity, group_size: int = 128
) -> tuple[Tensor, Tensor]:
    """Integer codes and steps of a weight matrix [out, in] for inputs with second moments `hessian` [in, in].

    Inputs are rounded in their order. A step is the largest magnitude over 2^(bits - 1), of the original weights, or
    where it is a group's, of the weights as they are when the group's turn comes. An input that never came has weight
    0.

    Returns:
        Codes [out, in] (int8) in [-2^(bits - 1), 2^(bits - 1) - 1] and steps [out, in] (fp32).

    Raises:
        ValueError: a weight or moment is not finite, or the shapes do not fit.
    """
    columns = weight.shape[-1]
    if weight.dim() != 2 or hessian.shape != (columns, columns):
        raise ValueError(f"weights {tuple(weight.shape)} do not fit second moments {tuple(hessian.shape)}")
    if not (torch.isfinite(weight).all() and torch.isfinite(hessian).all()):
        raise ValueError("weights and second moments must be finite")
    left = weight.detach().double().clone()
    left[:, hessian.diagonal() == 0] = 0.0
    factor = _inverse_factor(hessian)
    steps, codes, errors = (torch.zeros_like(left) for _ in range(3))
    for start in range(0, columns, AT_ONCE):
        end = min(start + AT_ONCE, columns)
        for column in range(start, end):
            if granularity == "group" and column % group_size == 0:
                # Errors of this block have reached its own columns only; a group may reach further.
                group = slice(column, min(column + group_size, columns))
                late = errors[:, start:column] @ factor[start:column, group]
                late[:, : max(0, end - column)] = 0.0
                steps[:, group] = _step(left[:, group] - late, bits)
            elif column == 0:
                steps[:] = _step(left.reshape(1, -1) if granularity == "per_tensor" else left, bits)
            step = steps[:, column]
            code = (left[:, column] / torch.where(step > 0, step, 1)).round()
            codes[:, column] = code.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            errors[:, column] = (left[:, column] - codes[:, column] * step) / factor[column, column]
            left[:, column + 1 : end] -= errors[:, column, None] * factor[column, column + 1 : end]
        left[:, end:] -= errors[:, start:end] @ factor[start:end, end:]
    return codes.to(torch.int8), steps.float()


def _inverse_factor(hessian: Tensor) -> Tensor:
    """The upper Cholesky factor of the damped moments' inverse, in fp64."""
    damped = hessian.detach().double().clone()
    diagonal = damped.diagonal()  # a view
    diagonal += DAMPING * diagonal.mean()
    diagonal[diagonal == 0] = 1.0  # no input at all
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)


def _step(block: Tensor, bits: int) -> Tensor:
    return block.abs().amax(dim=1, keepdim=True) / 2 ** (bits - 1)
