"""Sampler `noisy`: expected hypervolume gain over a front that is known only up to its standard errors.

Each objective has a Gaussian process over the trials of one method, with each trial's own standard error (Daulton et
al. 2021, "Parallel Bayesian Optimization of Multiple Noisy Objectives with Expected Hypervolume Improvement", here by
joint draws at tried points and candidates). In each draw, the tried and running trials give one possible front and the
candidates one possible value each; the candidate with the highest mean gain, weighed by the probability that it is
feasible and does not collapse, is next. A lucky measurement thus does not pass for a front member.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc

from unlearn_sweep.engine.samplers.gaussian_process import Process, fit
from unlearn_sweep.engine.samplers.interface import Ask, Tried
from unlearn_sweep.engine.samplers.unit_interval import share_of, value_at
from unlearn_sweep.engine.samplers.volume_gain import expected_gains
from unlearn_sweep.engine.search_space import Choice, Dimension, MethodSpace, Scalar
from unlearn_sweep.evaluators.front import non_dominated

Array = NDArray[np.float64]
Point = dict[str, Scalar]
DRAWS = 64
UNIFORM, NEARBY = 256, 128
"""Candidates: Sobol points of the whole space, and points near the trials on the front."""
STEP, REDRAW = 0.1, 0.2
"""Standard deviation of a nearby candidate in each range; how often one draws a choice anew."""
LEAST_COMPLETE = 2


def noisy_point(ask: Ask, objectives: Sequence[str], rivals: Sequence[Tried] = ()) -> Point | None:
    """Return the next point of a method; None with fewer than two complete trials, or if no new point is found.

    Args:
        ask: the space, its trials with their standard errors, and the seed. An objective without a standard error
            counts as measured with the fitted noise alone.
        objectives: names of two or three objectives.
        rivals: trials of other methods whose front the method is to extend.
    """
    space = ask.space
    searched = space.searched()
    tried = [trial for trial in ask.trials if searched.keys() <= trial.params.keys()]
    complete = [trial for trial in tried if trial.outcome == "complete"]
    if not searched or len(complete) < LEAST_COMPLETE:
        return None
    chance = np.random.default_rng(ask.seed)
    candidates = _new(space, [*_uniform(space, ask.seed), *_nearby(space, complete, chance)], tried)
    if not candidates:
        return None
    known = [trial for trial in complete if trial.feasible and not trial.rob_is_bound]
    members = [*known, *(trial for trial in tried if trial.outcome == "running")]
    at = _encoded(space, [*(dict(trial.params) for trial in members), *candidates])
    draws = np.stack([_process(space, complete, name).draws(at, DRAWS, chance) for name in objectives], axis=2)
    front = np.concatenate([draws[:, : len(members)], _measured(rivals, objectives, chance)], axis=1)
    gain = expected_gains(np.clip(front, 0, 1), np.clip(draws[:, len(members) :], 0, 1))
    return candidates[int(np.argmax(gain * _works(space, tried, at[len(members) :])))]


def encoded(space: MethodSpace, params: Mapping[str, Scalar]) -> list[float]:
    """Return the searched parameters as coordinates in [0, 1]; two different choices of words are 1 apart."""
    found: list[float] = []
    whole = space.canonical(space.whole(params))
    for name, dimension in space.searched().items():
        if isinstance(dimension, Choice) and not _is_ordered(dimension):
            found += [float(whole[name] == value) / np.sqrt(2) for value in dimension.values]
        else:
            found.append(share_of(dimension, whole[name]))
    return found


def _is_ordered(dimension: Choice) -> bool:
    """Return whether the values are numbers in order."""
    numbers = [value for value in dimension.values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(dimension.values) and numbers == sorted(numbers)


def _encoded(space: MethodSpace, points: Sequence[Mapping[str, Scalar]]) -> Array:
    return np.array([encoded(space, point) for point in points], dtype=np.float64)


def _process(space: MethodSpace, complete: Sequence[Tried], objective: str) -> Process:
    inputs = _encoded(space, [trial.params for trial in complete])
    targets = np.array([trial.values[objective] for trial in complete])
    errors = np.array([trial.errors.get(objective, 0.0) for trial in complete])
    return fit(inputs, targets, errors)


def _measured(rivals: Sequence[Tried], objectives: Sequence[str], chance: np.random.Generator) -> Array:
    """Return draws of other methods' points by their errors alone: [draws, rivals, objectives]."""
    on = [trial for trial in rivals if trial.outcome == "complete" and trial.feasible and not trial.rob_is_bound]
    shape = (len(on), len(objectives))
    values = np.array([[trial.values[name] for name in objectives] for trial in on]).reshape(shape)
    errors = np.array([[trial.errors.get(name, 0.0) for name in objectives] for trial in on]).reshape(shape)
    return values + errors * chance.standard_normal((DRAWS, *shape))


def _works(space: MethodSpace, tried: Sequence[Tried], points: Array) -> Array:
    """Return the probability of each point to be feasible and not to collapse."""
    ended = [trial for trial in tried if trial.outcome in ("complete", "collapsed")]
    worked = np.array([float(trial.feasible) for trial in ended])
    if worked.all():
        return np.ones(len(points))
    mean, covariance = fit(_encoded(space, [trial.params for trial in ended]), worked, np.zeros(len(ended))).at(points)
    return norm.cdf((mean - 0.5) / np.sqrt(np.clip(np.diag(covariance), 1e-4, None)))


# --- candidates -----------------------------------------------------------------------------------------------------


def _uniform(space: MethodSpace, seed: int) -> list[Point]:
    searched = space.searched()
    shares = qmc.Sobol(len(searched), scramble=True, rng=seed).random(UNIFORM)
    return [_at(searched, row) for row in shares]


def _nearby(space: MethodSpace, complete: Sequence[Tried], chance: np.random.Generator) -> list[Point]:
    """Return points near the trials that no other beats as measured."""
    searched = space.searched()
    flags = non_dominated([tuple(trial.values.values()) for trial in complete])
    best = [trial for trial, member in zip(complete, flags, strict=True) if member]
    found = []
    for _ in range(NEARBY):
        params = best[int(chance.integers(len(best)))].params
        start = np.array([share_of(dimension, params[name]) for name, dimension in searched.items()])
        moved = np.clip(start + STEP * chance.standard_normal(len(start)), 0, np.nextafter(1, 0))
        again = chance.random(len(start)) < REDRAW
        kept = np.where(again, chance.random(len(start)), start)
        free = np.array([isinstance(dimension, Choice) for dimension in searched.values()])
        found.append(_at(searched, np.where(free, kept, moved)))
    return found


def _at(searched: Mapping[str, Dimension], shares: Array) -> Point:
    return {
        name: value_at(dimension, float(share))
        for (name, dimension), share in zip(searched.items(), shares, strict=True)
    }


def _new(space: MethodSpace, points: Sequence[Point], tried: Sequence[Tried]) -> list[Point]:
    """Return the different points that were not tried; what has no effect makes no difference."""

    def key(params: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
        return tuple(sorted(space.canonical(space.whole(params)).items()))

    seen = {key(trial.params) for trial in tried}
    found = {key(point): point for point in points}
    return [point for name, point in found.items() if name not in seen]
