"""Optuna's samplers by the names of a sweep file, and how one dimension of a space is suggested."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler

from unlearn_sweep.engine.search_settings import Sampler
from unlearn_sweep.engine.search_space import (
    Choice,
    Dimension,
    Fixed,
    Integer,
    LogInteger,
    LogUniform,
    MethodSpace,
    Uniform,
)

SIGNIFICANT_DIGITS = 6


def make_sampler(name: Sampler, *, seed: int, startup: int, decided: bool = False) -> BaseSampler:
    """A fresh sampler, seeded for one ask. TPE models each method's own parameters jointly (multivariate, group).

    `decided`: the method is, by the allocation. Then TPE's points are too, and what is left to draw are its first ones.
    """
    if name == "tpe" and not decided:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", optuna.exceptions.ExperimentalWarning
            )  # group and multivariate are what we want
            return TPESampler(multivariate=True, group=True, n_startup_trials=startup, seed=seed)
    if name == "nsga2":
        return NSGAIISampler(population_size=max(8, startup), seed=seed)
    if name == "nsga3":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return NSGAIIISampler(population_size=max(8, startup), seed=seed)
    return RandomSampler(seed=seed)  # the points of every other sampler are fixed before Optuna's is asked


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """What Optuna records for a searched dimension. TypeError for a fixed one, which is not its business."""
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
    """One parameter's value, rounded so that equal settings are recognised. Fixed values are not Optuna's business."""
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


def grid_points(spaces: Iterable[MethodSpace], points: int | None) -> list[dict[str, Any]]:
    """Every configuration of a grid, methods in file order; continuous dimensions are cut into `points` values."""
    grid: list[dict[str, Any]] = []
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
    """The values a grid takes on one dimension. ValueError for a continuous one without a number of points."""
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
    """`points` values from low to high at equal distances; the middle for one point."""
    if points == 1:
        return [(low + high) / 2]
    return [low + (high - low) * index / (points - 1) for index in range(points)]


def rounded_into(value: float, low: float, high: float) -> float:
    """A value at the digits by which settings are told apart, still inside its range."""
    return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), low), high)
