"""Create Optuna's samplers by their sweep-file names, suggest values, and build grids."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler

from unlearn_sweep.engine.samplers.unit_interval import rounded_into
from unlearn_sweep.engine.search_space import (
    Choice,
    Dimension,
    Fixed,
    Integer,
    LogInteger,
    LogUniform,
    MethodSpace,
    Scalar,
    Uniform,
)


def make_sampler(name: str, *, seed: int, startup: int) -> BaseSampler:
    """Create the sampler of one ask, seeded. It draws what `per_method_samplers` and the allocation leave open."""
    if name == "nsga2":
        return NSGAIISampler(population_size=max(8, startup), seed=seed)
    if name == "nsga3":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return NSGAIIISampler(population_size=max(8, startup), seed=seed)
    return RandomSampler(seed=seed)  # other samplers' points are enqueued before the ask


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """Return Optuna's distribution of a searched dimension.

    Raises:
        TypeError: the dimension is fixed; Optuna does not see fixed parameters.
    """
    match dimension:
        case Uniform(low=low, high=high):
            return FloatDistribution(low, high)
        case LogUniform(low=low, high=high):
            return FloatDistribution(low, high, log=True)
        case Integer(low=low, high=high):
            return IntDistribution(low, high)
        case LogInteger(low=low, high=high):
            return IntDistribution(low, high, log=True)
        case Choice(values=values):
            return CategoricalDistribution(values)
    raise TypeError(f"nothing to search in {dimension!r}")


def suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    """Suggest a value, rounded so that equal configurations are recognised. Fixed values bypass Optuna."""
    match dimension:
        case Fixed(value=value):
            return value
        case Uniform(low=low, high=high):
            return rounded_into(trial.suggest_float(name, low, high), low, high)
        case LogUniform(low=low, high=high):
            return rounded_into(trial.suggest_float(name, low, high, log=True), low, high)
        case Integer(low=low, high=high):
            return trial.suggest_int(name, low, high)
        case LogInteger(low=low, high=high):
            return trial.suggest_int(name, low, high, log=True)
        case Choice(values=values):
            return trial.suggest_categorical(name, list(values))
    raise TypeError(f"{name}: no such dimension {dimension!r}")


def grid_points(spaces: Iterable[MethodSpace], points: int | None) -> list[dict[str, Scalar]]:
    """Return every configuration of a grid, methods in file order. Ranges are reduced to `points` values."""
    grid: list[dict[str, Scalar]] = []
    for space in spaces:
        axes = {
            name: _axis(dimension, points)
            for name, dimension in space.params.items()
            if not isinstance(dimension, Fixed)
        }
        for values in itertools.product(*axes.values()):
            grid.append(
                {
                    "method": space.method,
                    **{f"{space.method}.{name}": value for name, value in zip(axes, values, strict=True)},
                }
            )
    return grid


def _axis(dimension: Dimension, points: int | None) -> list[Any]:
    """Return the grid values of one dimension.

    Raises:
        ValueError: `points` is None and the dimension needs it.
    """
    match dimension:
        case Choice(values=values):
            return list(values)
        case Integer(low=low, high=high) if points is None or high - low + 1 <= points:
            return list(range(low, high + 1))
    if points is None:
        raise ValueError(f"a grid over {dimension!r} needs search.grid_points")
    match dimension:
        case Uniform(low=low, high=high):
            return [rounded_into(value, low, high) for value in _spread(low, high, points)]
        case LogUniform(low=low, high=high):
            return [
                rounded_into(math.exp(value), low, high) for value in _spread(math.log(low), math.log(high), points)
            ]
        case Integer(low=low, high=high):
            return sorted({round(value) for value in _spread(low, high, points)})
        case LogInteger(low=low, high=high):
            return sorted({round(math.exp(value)) for value in _spread(math.log(low), math.log(high), points)})
    raise TypeError(f"no such dimension {dimension!r}")


def _spread(low: float, high: float, points: int) -> list[float]:
    """Return `points` equally spaced values from `low` to `high`, or the midpoint if `points` is 1."""
    if points == 1:
        return [(low + high) / 2]
    return [low + (high - low) * index / (points - 1) for index in range(points)]
