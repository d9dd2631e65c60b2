"""A Gaussian process over points of a unit cube, for measurements whose standard errors are known.

Matern 5/2 kernel with one length scale a dimension and unit variance, on standardised targets. Each target has its own
known variance; one more variance, the same for all, is fitted, for what the errors do not cover (another training seed,
a step in the objective). Length scales are fitted by maximum a posteriori. Their prior grows with the square root of
the number of dimensions (Hvarfner et al. 2024), so that few trials in many dimensions give a smooth model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Array = NDArray[np.float64]
LENGTH_SPREAD = math.sqrt(3)
NOISE_PRIOR = (-6.0, 2.0)
"""Mean and standard deviation of the log of the fitted variance, in units of the targets' variance."""
BOUNDS_LENGTH, BOUNDS_NOISE = (-4.0, 5.0), (-12.0, 1.0)
JITTER = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A fitted process: `inputs` [n, d], `weights` [n] and the Cholesky factor of their covariance."""

    inputs: Array
    lengths: Array
    weights: Array
    factor: tuple[Array, bool]
    centre: float
    scale: float

    def at(self, points: Array) -> tuple[Array, Array]:
        """Return mean [m] and covariance [m, m] of the objective itself, without noise, at `points` [m, d]."""
        across = _kernel(self.inputs, points, self.lengths)[0]
        mean = self.centre + self.scale * (across.T @ self.weights)
        left = _kernel(points, points, self.lengths)[0] - across.T @ cho_solve(self.factor, across)
        return mean, left * self.scale**2

    def draws(self, points: Array, count: int, chance: np.random.Generator) -> Array:
        """Return `count` joint draws of the objective at `points`: [count, m]."""
        mean, covariance = self.at(points)
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.clip(values, 0.0, None))
        return mean + chance.standard_normal((count, len(points))) @ root.T


def fit(inputs: Array, targets: Array, errors: Array) -> Process:
    """Fit a process to `targets` [n] at `inputs` [n, d], measured with standard errors `errors` [n].

    Raises:
        ValueError: there is no target, shapes differ, or a number is not finite or an error is negative.
    """
    if not len(targets) or inputs.ndim != 2 or targets.shape != errors.shape or len(inputs) != len(targets):
        raise ValueError(f"shapes {inputs.shape}, {targets.shape} and {errors.shape} do not fit")
    if not all(np.isfinite(values).all() for values in (inputs, targets, errors)) or (errors < 0).any():
        raise ValueError("inputs and targets must be finite, and errors finite and at least 0")
    centre, spread = float(targets.mean()), float(targets.std())
    scale = spread if spread > 1e-6 else 1.0
    standard, known = (targets - centre) / scale, (errors / scale) ** 2
    width = inputs.shape[1]
    start = np.append(np.full(width, _length_prior(width)), NOISE_PRIOR[0])
    bounds = [*[BOUNDS_LENGTH] * width, BOUNDS_NOISE]
    best = minimize(_objective, start, args=(inputs, standard, known), jac=True, bounds=bounds, method="L-BFGS-B")
    lengths, noise = np.exp(best.x[:-1]), float(np.exp(best.x[-1]))
    covariance = _kernel(inputs, inputs, lengths)[0] + np.diag(known + noise + JITTER)
    factor = cho_factor(covariance, lower=True)
    return Process(
        inputs=inputs,
        lengths=lengths,
        weights=cho_solve(factor, standard),
        factor=factor,
        centre=centre,
        scale=scale,
    )


def _objective(theta: Array, inputs: Array, targets: Array, known: Array) -> tuple[float, Array]:
    """Return the negative log posterior of log length scales and log variance, and its gradient."""
    lengths, noise = np.exp(theta[:-1]), float(np.exp(theta[-1]))
    kernel, slopes = _kernel(inputs, inputs, lengths)
    factor = cho_factor(kernel + np.diag(known + noise + JITTER), lower=True)
    weights = cho_solve(factor, targets)
    inner = np.outer(weights, weights) - cho_solve(factor, np.eye(len(targets)))
    value = 0.5 * float(targets @ weights) + float(np.log(np.diag(factor[0])).sum())
    gradient = np.append(-0.5 * np.einsum("ij,ijk->k", inner, slopes), -0.5 * noise * float(np.trace(inner)))
    off = theta - np.append(np.full(len(lengths), _length_prior(len(lengths))), NOISE_PRIOR[0])
    spread = np.append(np.full(len(lengths), LENGTH_SPREAD), NOISE_PRIOR[1])
    return value + 0.5 * float(((off / spread) ** 2).sum()), gradient + off / spread**2


def _kernel(one: Array, other: Array, lengths: Array) -> tuple[Array, Array]:
    """Return the kernel [n, m] and its derivatives by the log length scales [n, m, d]."""
    squares = ((one[:, None, :] - other[None, :, :]) / lengths) ** 2
    root = np.sqrt(5 * squares.sum(axis=2))
    decay = np.exp(-root)
    return (1 + root + root**2 / 3) * decay, (5 / 3) * ((1 + root) * decay)[:, :, None] * squares


def _length_prior(dimensions: int) -> float:
    return math.sqrt(2) + 0.5 * math.log(dimensions)
