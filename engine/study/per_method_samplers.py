"""Samplers that propose a whole point for one method from the trials of that method alone.

A Gaussian process needs parameters that every trial has, and a low-discrepancy sequence needs fixed axes. Both
therefore sample one method at a time. TPE could model all methods together, and performs better on the trials of one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from unlearn_sweep.engine.samplers.unit_interval import value_at
from unlearn_sweep.engine.search_space import MethodSpace, Scalar
from unlearn_sweep.engine.study.learnt_trials import by_rank
from unlearn_sweep.engine.study.sampling import distribution_of
from unlearn_sweep.engine.study.shared_parameters import SharedRatio, SharingTPE

GP_LOOKS_AT = (TrialState.COMPLETE, TrialState.RUNNING)
TPE_LOOKS_AT = (*GP_LOOKS_AT, TrialState.PRUNED)
TPE_CANDIDATES = 100
GOOD_AT_MOST = 25


def qmc_point(space: MethodSpace, index: int, seed: int) -> dict[str, Scalar]:
    """Return point `index` (from 0) of a scrambled Sobol sequence over the searched parameters, by study name."""
    from scipy.stats import qmc

    searched = space.searched()
    if not searched:
        return {"method": space.method}
    sequence = qmc.Sobol(len(searched), scramble=True, rng=seed)
    if index:
        sequence.fast_forward(index)
    shares = sequence.random(1)[0]
    values = (value_at(dimension, float(share)) for dimension, share in zip(searched.values(), shares, strict=True))
    return {"method": space.method, **dict(zip(_names(space), values, strict=True))}


def gp_point(
    space: MethodSpace, trials: Sequence[FrozenTrial], directions: Sequence[Any], *, seed: int, startup: int
) -> dict[str, Scalar]:
    """Return the next point by a Gaussian process over one method's trials. Random until `startup` are complete."""
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
    space: MethodSpace,
    trials: Sequence[FrozenTrial],
    directions: Sequence[Any],
    *,
    seed: int,
    startup: int,
    learnt: Sequence[FrozenTrial] = (),
    shared: SharedRatio | None = None,
) -> dict[str, Scalar] | None:
    """Return the next point by TPE over one method's trials, and those of another sweep in `learnt`.

    Return None before `startup` of them are finished, unless other methods say something (`shared`), or if there is
    nothing to search. If TPE modelled all methods together, most methods would have at most one trial among the good
    ones, too few to model. A quarter of a method's trials count as good, not Optuna's tenth, because a front of three
    objectives has many members.
    """
    distributions = {
        name: distribution_of(dimension)
        for name, dimension in zip(_names(space), space.searched().values(), strict=True)
    }
    own = [trial for trial in trials if _is_of(trial, distributions, TPE_LOOKS_AT)]
    if learnt:
        own = [*by_rank(learnt), *by_rank(own)]
    starting = sum(trial.state.is_finished() for trial in own) < startup
    if not distributions or (starting and shared is None):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `gamma` is deprecated in Optuna without a replacement
        sampler = SharingTPE(
            shared,
            alone=starting,
            multivariate=True,
            n_startup_trials=0,
            n_ei_candidates=TPE_CANDIDATES,
            gamma=good_trials,
            seed=seed,
        )
    study = optuna.create_study(directions=directions, sampler=sampler)
    study.add_trials([_own_part(trial, distributions) for trial in own])
    return {"method": space.method, **study.ask(fixed_distributions=distributions).params}


def good_trials(trials: int) -> int:
    """Return how many of `trials` trials count as good in TPE."""
    return min(math.ceil(trials / 4), GOOD_AT_MOST)


def _names(space: MethodSpace) -> list[str]:
    return [f"{space.method}.{name}" for name in space.searched()]


def _is_of(trial: FrozenTrial, distributions: dict[str, Any], states: Sequence[TrialState]) -> bool:
    """Return whether a trial has all the method's parameters and one of `states`."""
    return distributions.keys() <= trial.params.keys() and trial.state in states


def _own_part(trial: FrozenTrial, distributions: dict[str, Any]) -> FrozenTrial:
    return create_trial(
        state=trial.state,
        values=trial.values if trial.state is TrialState.COMPLETE else None,
        params={name: trial.params[name] for name in distributions},
        distributions=distributions,
        system_attrs=trial.system_attrs,
    )
