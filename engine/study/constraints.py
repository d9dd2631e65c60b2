"""`search.constraints`: minimum values of objectives, and which trials miss them.

An infeasible trial keeps its objective values. It is not on the front, dominates no other trial, is never recommended,
gets no further seeds, and its model is not kept. The gate of `stages.gate` skips the attacks that it has left.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from unlearn_sweep.engine.search_settings import ObjectiveName
from unlearn_sweep.engine.stages.gate import missed_constraints
from unlearn_sweep.engine.store.records import TrialRecord

if TYPE_CHECKING:
    from optuna.trial import Trial


def infeasible_reason(record: TrialRecord, minimum: Mapping[ObjectiveName, float]) -> str | None:
    """Return which minimum values a complete trial misses. None if it misses none, or is not complete.

    Rob of a trial with skipped attacks is an upper bound, so a Rob below the minimum is infeasible in this case too.
    """
    if record.state != "complete":
        return None
    return missed_constraints({"ue": record.ue, "ut": record.ut, "rob": record.rob}, minimum)


def marked(record: TrialRecord, minimum: Mapping[ObjectiveName, float]) -> TrialRecord:
    """Return the record with `infeasible` set by the constraints."""
    reason = infeasible_reason(record, minimum)
    return record if reason == record.infeasible else record.model_copy(update={"infeasible": reason})


def constrain(trial: Trial, values: Mapping[str, float]) -> None:
    """Set constraints. Ignore the warning that they are set already, by a driver killed before its tell."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The constraint value is ignored", category=UserWarning)
        for name, value in values.items():
            trial.set_constraint(name, value)


def short_by(value: float | None, least: float) -> float:
    """Return Optuna's constraint value: above 0 is infeasible. A missing objective gives 1."""
    return 1.0 if value is None else least - value
