"""Points for the method whose turn it is, from the samplers that work on one method at a time, and from beliefs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from unlearn_sweep.engine.samplers.catalog import sampler_card
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import MethodSpace, Scalar
from unlearn_sweep.engine.study.beliefs import believed_point
from unlearn_sweep.engine.study.further_shares import FOLLOWER
from unlearn_sweep.engine.study.learnt_trials import learnt_trials
from unlearn_sweep.engine.study.noisy_sampler import noisy_turn
from unlearn_sweep.engine.study.per_method_samplers import gp_point, qmc_point, tpe_point
from unlearn_sweep.engine.study.plugin_sampler import plugin_point
from unlearn_sweep.engine.study.shared_parameters import shared_ratio

Errors = Callable[[Sequence[FrozenTrial]], dict[int, dict[str, float]]]
"""The standard errors of the trials that Optuna was told as complete, by number."""


def point_by_turn(
    plan: SearchPlan,
    spaces: Mapping[str, MethodSpace],
    space: MethodSpace,
    trials: Sequence[FrozenTrial],
    directions: Sequence[Any],
    *,
    number: int,
    errors: Errors,
) -> dict[str, Scalar] | None:
    """Return the whole point of trial `number`, of the method of `space`; None if Optuna's own sampler draws it."""
    place = _place(space, trials)
    if plan.sampler == "qmc":
        return qmc_point(space, place, seed_of(plan.seed, list(spaces).index(space.method)))
    point = _believed(plan, space, place, number)
    if point is not None:
        return point
    seed, startup = seed_of(plan.seed, number), plan.startup_trials
    if plan.sampler == "tpe":
        learnt = learnt_trials(plan.learnt, space, plan.objectives)
        shared = shared_ratio(space, spaces, trials, startup=startup)
        share = math.ceil(startup / len(spaces))
        return tpe_point(space, trials, directions, seed=seed, startup=share, learnt=learnt, shared=shared)
    if plan.sampler == "gp":
        return gp_point(space, trials, directions, seed=seed, startup=startup)
    card, starting = sampler_card(plan.sampler), _is_starting(plan, spaces, space, trials)
    if card.target and not (card.models and starting):
        return plugin_point(plan, space, trials, seed=seed, errors=errors(trials))
    if plan.sampler == "noisy" and not starting:
        return noisy_turn(plan, spaces, space.method, trials, seed=seed, errors=errors(trials))
    return None


def seed_of(seed: int, number: int | str) -> int:
    """Return the seed of one draw of a study: 32 bits of a hash."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")


def _believed(plan: SearchPlan, space: MethodSpace, place: int, number: int) -> dict[str, Scalar] | None:
    believed = next((belief.params for belief in plan.beliefs if belief.method == space.method), None)
    if believed is None:
        return None
    return believed_point(space, believed, place=place, seed=seed_of(plan.seed, f"belief {number}"))


def _place(space: MethodSpace, trials: Sequence[FrozenTrial]) -> int:
    """Return how many points of a method were asked for so far; duplicates count, further shares do not."""
    own = (trial for trial in trials if FOLLOWER not in trial.user_attrs)
    return sum(trial.params.get("method") == space.method for trial in own)


def _is_starting(
    plan: SearchPlan, spaces: Mapping[str, MethodSpace], space: MethodSpace, trials: Sequence[FrozenTrial]
) -> bool:
    """Return whether a method still gets its share of the random trials at the start."""
    done = sum(trial.state.is_finished() and trial.params.get("method") == space.method for trial in trials)
    return done < math.ceil(plan.startup_trials / len(spaces))
