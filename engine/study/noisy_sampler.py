"""Ask the noise-aware sampler for a point of one method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial

from unlearn_sweep.engine.samplers.interface import Ask
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import MethodSpace, Scalar
from unlearn_sweep.engine.study.plugin_sampler import Errors, tried_of

DUPLICATE_OF = "duplicate_of"
"""User attribute of a repeated proposal: the number of the trial that it repeats. It is no second measurement."""


def noisy_turn(
    plan: SearchPlan,
    spaces: Mapping[str, MethodSpace],
    method: str,
    trials: Sequence[FrozenTrial],
    *,
    seed: int,
    errors: Errors,
) -> dict[str, Scalar] | None:
    """Return the next point of a method by study name; None if there is nothing to model.

    With equal allocation, each method extends its own front, so that methods can be compared; with `free`, the front
    of the sweep.
    """
    from unlearn_sweep.engine.samplers.noisy import noisy_point

    known = [trial for trial in trials if DUPLICATE_OF not in trial.user_attrs]
    tried = {name: tried_of(space, known, plan.objectives, errors) for name, space in spaces.items()}
    own = tried.pop(method)
    rivals = [trial for others in tried.values() for trial in others] if plan.allocation == "free" else []
    ask = Ask(space=spaces[method], trials=own, number=len(trials), seed=seed)
    point = noisy_point(ask, plan.objectives, rivals)
    return None if point is None else {"method": method, **{f"{method}.{name}": value for name, value in point.items()}}
