"""Whole points for a method whose turn it is, from samplers that look at that method alone.

A Gaussian process knows only parameters that every trial has, and a low-discrepancy sequence only fixed axes. So both
look at one method at a time, and every method gets its turn. TPE could look at all, and does where it chooses the
method too; where the allocation chooses, it does better on the method's own trials.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from unlearn_sweep.engine.search_space import Choice, Dimension, Integer, LogInteger, LogUniform, MethodSpace, Uniform
from unlearn_sweep.engine.study.sampling import distribution_of, rounded_into

GP_LOOKS_AT = (TrialState.COMPLETE, TrialState.RUNNING)
TPE_LOOKS_AT = (*GP_LOOKS_AT, TrialState.PRUNED)
TPE_CANDIDATES = 100
GOOD_AT_MOST = 25


def qmc_point(space: MethodSpace, index: int, seed: int) -> dict[str, Any]:
    """Point `index` (from 0) of a scrambled Sobol sequence over a method's searched parameters, by study names."""
    from scipy.stats import qmc

    searched = space.searched()
    if not searched:
        return {"method": space.method}
    sequence = qmc.Sobol(len(searched), scramble=True, rng=seed)
    if index:
        sequence.fast_forward(index)
    shares = sequence.random(1)[0]
    values = (_at(dimension, float(share)) for dimension, share in zip(searched.values(), shares, strict=True))
    return {"method": space.method, **dict(zip(_names(space), values, strict=True))}


def gp_point(
    space: MethodSpace, trials: Sequence[FrozenTrial], directions: Sequence[Any], *, seed: int, startup: int
) -> dict[str, Any]:
    """The next point of a Gaussian process over one method's trials; random ones before `startup` are complete."""
    distributions = {
        name: distribution_of(dimension)
        for name, dimension in zip(_names(space), space.searched().values(), strict=True)
    }
    if not distributions:
        return {"method": space.method}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
    study = optuna.create_study(directions=directions, sampler=sampler)
    study.add_trials([_own_part(trial, distributions) for trial in trials if _is_of(trial, distributions, GP_LOOKS_AT)])
    return {"method": space.method, **study.ask(fixed_distributions=distributions).params}


def tpe_point(
    space: MethodSpace, trials: Sequence[FrozenTrial], directions: Sequence[Any], *, seed: int, startup: int
) -> dict[str, Any] | None:
    """The next point by TPE over one method's trials; None before it has `startup` of them, or with nothing to search.

    Among the trials of all methods the good ones of most would be none or one, and a model of one point is a guess. A
    quarter of a method's trials count as good, not Optuna's tenth: a front of three objectives has many members.
    """
    distributions = {
        name: distribution_of(dimension)
        for name, dimension in zip(_names(space), space.searched().values(), strict=True)
    }
    own = [trial for trial in trials if _is_of(trial, distributions, TPE_LOOKS_AT)]
    if not distributions or sum(trial.state.is_finished() for trial in own) < startup:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna means to take `gamma` away and offers nothing in its place
        sampler = optuna.samplers.TPESampler(
            multivariate=True, n_startup_trials=0, n_ei_candidates=TPE_CANDIDATES, gamma=good_trials, seed=seed
        )
    study = optuna.create_study(directions=directions, sampler=sampler)
    study.add_trials([_own_part(trial, distributions) for trial in own])
    return {"method": space.method, **study.ask(fixed_distributions=distributions).params}


def good_trials(trials: int) -> int:
    """How many of a method's trials TPE's model of the good ones is made from."""
    return min(math.ceil(trials / 4), GOOD_AT_MOST)


def _names(space: MethodSpace) -> list[str]:
    return [f"{space.method}.{name}" for name in space.searched()]


def _is_of(trial: FrozenTrial, distributions: dict[str, Any], states: Sequence[TrialState]) -> bool:
    """Whether a trial has all the method's parameters and one of these states."""
    return distributions.keys() <= trial.params.keys() and trial.state in states


def _own_part(trial: FrozenTrial, distributions: dict[str, Any]) -> FrozenTrial:
    return create_trial(
        state=trial.state,
        values=trial.values if trial.state is TrialState.COMPLETE else None,
        params={name: trial.params[name] for name in distributions},
        distributions=distributions,
        system_attrs=trial.system_attrs,
    )


def _at(dimension: Dimension, share: float) -> Any:
    """The value at a share of a dimension, from 0 (lowest) to just below 1."""
    match dimension:
        case Choice(values=values):
            return values[int(share * len(values))]
        case Uniform(low=low, high=high):
            return rounded_into(low + (high - low) * share, low, high)
        case LogUniform(low=low, high=high):
            return rounded_into(math.exp(math.log(low) + math.log(high / low) * share), low, high)
        case Integer(low=low, high=high):
            return low + int(share * (high - low + 1))
        case LogInteger(low=low, high=high):
            return min(high, int(math.exp(math.log(low) + math.log((high + 1) / low) * share)))
    raise TypeError(f"nothing to search in {dimension!r}")
