"""Which settings of a method an objective depends on, by PED-ANOVA (Watanabe, Bansal and Hutter, arXiv 2304.10255).

A setting matters for an objective if good trials have other values of it than the whole search space. Shares of one
method and objective add up to 1. Optuna computes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial
from pydantic import Field

from unlearn_sweep.engine.search_settings import ObjectiveName
from unlearn_sweep.engine.search_space import Dimension, MethodSpace
from unlearn_sweep.engine.store.records import Record, TrialRecord
from unlearn_sweep.engine.study.sampling import distribution_of

LEAST_TRIALS = 20
"""With fewer trials of a method, the best quarter is too few to say anything."""
BEST = 0.25


class Importance(Record):
    """Shares of the settings of one method in one objective.

    Attributes:
        method: Name of the method.
        objective: "ue", "ut" or "rob".
        trials: Trials of the method with a value of the objective.
        shares: Share of each searched setting, in [0, 1], the largest first; empty if `reason` says why.
        reason: Why there are no shares.
    """

    method: str
    objective: ObjectiveName
    trials: int
    shares: dict[str, float] = Field(default_factory=dict)
    reason: str | None = None


def importances(
    records: Sequence[TrialRecord], spaces: Iterable[MethodSpace], objectives: Sequence[ObjectiveName]
) -> list[Importance]:
    """Return the shares of each method and objective, in the order of `spaces`; nothing for a method without a search.

    Complete trials count, infeasible ones too. A Rob that is a bound is no value.
    """
    found = []
    for space in spaces:
        searched = space.searched()
        if searched:
            own = [record for record in records if record.method == space.method and record.state == "complete"]
            found += [_importance(space.method, searched, own, objective) for objective in objectives]
    return found


def _importance(
    method: str, searched: Mapping[str, Dimension], records: Sequence[TrialRecord], objective: ObjectiveName
) -> Importance:
    valued = [
        (record, value)
        for record in records
        if (value := getattr(record, objective)) is not None and not (objective == "rob" and record.rob_is_bound)
    ]
    known = Importance(method=method, objective=objective, trials=len(valued))
    if len(valued) < LEAST_TRIALS:
        return known.model_copy(update={"reason": f"{len(valued)} trials with a value, fewer than {LEAST_TRIALS}"})
    if len({value for _, value in valued}) == 1:
        return known.model_copy(update={"reason": "all trials have the same value"})
    shares = _shares(searched, valued)
    return known.model_copy(update={"shares": dict(sorted(shares.items(), key=lambda item: -item[1]))})


def _shares(searched: Mapping[str, Dimension], valued: Sequence[tuple[TrialRecord, float]]) -> dict[str, float]:
    if len(searched) == 1:
        return dict.fromkeys(searched, 1.0)
    distributions = {name: distribution_of(dimension) for name, dimension in searched.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            create_trial(
                params={name: record.params[name] for name in searched}, distributions=distributions, value=value
            )
            for record, value in valued
        ]
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST, evaluate_on_local=False)
    return get_param_importances(study, evaluator=evaluator)
