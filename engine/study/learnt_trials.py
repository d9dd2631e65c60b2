"""Trials of another sweep beside those of this one, for a sampler that models where good settings lie.

The other sweep may have another model, other data or other attacks, so its values are on another scale. Only ranks are
compared: each objective is replaced by the rank inside its own sweep, so that the best part of each counts as good.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState, create_trial

from unlearn_sweep.engine.search_settings import LearntTrial, ObjectiveName
from unlearn_sweep.engine.search_space import MethodSpace
from unlearn_sweep.engine.study.sampling import distribution_of


def learnt_trials(
    learnt: Sequence[LearntTrial], space: MethodSpace, objectives: Sequence[ObjectiveName]
) -> list[FrozenTrial]:
    """Return the trials of one method, as the study has its own. A collapsed one is pruned and infeasible."""
    searched = space.searched()
    distributions = {f"{space.method}.{name}": distribution_of(dimension) for name, dimension in searched.items()}
    found = []
    for trial in learnt:
        if trial.method != space.method:
            continue
        collapsed = trial.values is None
        found.append(
            create_trial(
                state=TrialState.PRUNED if collapsed else TrialState.COMPLETE,
                values=None if trial.values is None else [trial.values[name] for name in objectives],
                params={f"{space.method}.{name}": trial.params[name] for name in searched},
                distributions=distributions,
                system_attrs={"constraints": [1.0 if collapsed else -1.0]},
            )
        )
    return found


def by_rank(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials with each objective as its mean rank among them, in (0, 1). Others stay as they are."""
    from scipy.stats import rankdata

    whole = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not whole:
        return list(trials)
    ranks = rankdata([trial.values for trial in whole], axis=0) / (len(whole) + 1)
    ranked = {id(trial): row.tolist() for trial, row in zip(whole, ranks, strict=True)}
    return [
        trial
        if id(trial) not in ranked
        else create_trial(
            state=trial.state,
            values=ranked[id(trial)],
            params=trial.params,
            distributions=trial.distributions,
            system_attrs=trial.system_attrs,
        )
        for trial in trials
    ]
