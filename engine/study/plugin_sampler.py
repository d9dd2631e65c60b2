"""Ask the sampler of a plugin for a point, and check the point before Optuna sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from unlearn_sweep.engine.samplers.catalog import build_sampler
from unlearn_sweep.engine.samplers.interface import Ask, Sampler, TrialOutcome, Tried
from unlearn_sweep.engine.samplers.unit_interval import rounded_into
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import Choice, Dimension, Integer, LogInteger, LogUniform, MethodSpace, Uniform
from unlearn_sweep.user_error import EXIT_FAILED, UserError

OUTCOMES: Mapping[TrialState, TrialOutcome] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "collapsed",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


Errors = Mapping[int, Mapping[str, float]]
"""Standard errors of each trial's objectives, by number."""


class SamplerError(UserError):
    """The sampler of a plugin raised an error or proposed something outside the search space."""

    status = EXIT_FAILED
    advice = "Correct the plugin, try it with `unlearn-sweep check-plugin FILE`, and rerun the same command."


def plugin_point(
    plan: SearchPlan, space: MethodSpace, trials: Sequence[FrozenTrial], *, seed: int, errors: Errors
) -> dict[str, Any]:
    """Return the point of a plugin's sampler by study name, for the method of `space`.

    Raises:
        SamplerError: the sampler raised an error, or the point is not one of the space.
    """
    own = tried_of(space, trials, plan.objectives, errors)
    ask = Ask(space=space, trials=own, number=len(trials), seed=seed)
    point = checked_point(plan.sampler, build_sampler(plan.sampler, plan.sampler_options), ask)
    return {"method": space.method, **{f"{space.method}.{name}": value for name, value in point.items()}}


def tried_of(
    space: MethodSpace, trials: Sequence[FrozenTrial], objectives: Sequence[str], errors: Errors
) -> tuple[Tried, ...]:
    """Return the trials of one method as a sampler sees them. `errors` are by number of the trial."""
    own = (trial for trial in trials if trial.params.get("method") == space.method)
    return tuple(_tried(trial, space, objectives, errors) for trial in own)


def checked_point(name: str, sampler: Sampler, ask: Ask) -> dict[str, Any]:
    """Return the sampler's point, real numbers rounded as settings are.

    Raises:
        SamplerError: the sampler raised an error, or the point is not one of the space.
    """
    searched = ask.space.searched()
    try:
        given = dict(sampler.point(ask))
    except Exception as error:  # third-party code may raise anything
        raise SamplerError(f"sampler {name}: {type(error).__name__}: {error}") from error
    if set(given) != set(searched):
        raise SamplerError(
            f"sampler {name} proposes {sorted(map(str, given))} for {ask.space.method}; it searches {sorted(searched)}"
        )
    return {key: _checked(name, f"{ask.space.method}.{key}", given[key], searched[key]) for key in searched}


def _checked(name: str, path: str, value: Any, dimension: Dimension) -> Any:
    match dimension:
        case Choice(values=values):
            fits = any(type(value) is type(known) and value == known for known in values)
        case Integer(low=low, high=high) | LogInteger(low=low, high=high):
            fits = type(value) is int and low <= value <= high
        case Uniform(low=low, high=high) | LogUniform(low=low, high=high):
            fits = type(value) in (int, float) and low <= value <= high
            value = rounded_into(value, low, high) if fits else value
        case _:
            fits = False
    if not fits:
        raise SamplerError(
            f"sampler {name} proposes {value!r} ({type(value).__name__}) for {path}; allowed: {dimension}"
        )
    return value


def _tried(trial: FrozenTrial, space: MethodSpace, objectives: Sequence[str], errors: Errors) -> Tried:
    prefix = f"{space.method}."
    params = {name.removeprefix(prefix): value for name, value in trial.params.items() if name.startswith(prefix)}
    complete = trial.state is TrialState.COMPLETE
    values = dict(zip(objectives, trial.values or (), strict=True)) if complete else {}
    return Tried(
        number=trial.number,
        params=params,
        outcome=OUTCOMES[trial.state],
        values=values,
        feasible=complete and all(value <= 0 for value in trial.constraints.values()),
        errors=errors.get(trial.number, {}) if complete else {},
        rob_is_bound=complete and bool(trial.user_attrs.get("rob_is_bound")),
    )
