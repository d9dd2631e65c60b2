"""`search.constraints`: minimum values of objectives, and which trials miss them.

An infeasible trial keeps its objective values. It is not on the front, dominates no other trial, is never recommended,
gets no further seeds, and its model is not kept. The gate of `stages.gate` skips the attacks that it has left.
"""

from __future__ import annotations

from collections.abc import Mapping

from unlearn_sweep.engine.search_settings import ObjectiveName
from unlearn_sweep.engine.stages.gate import missed_constraints
from unlearn_sweep.engine.store.records import TrialRecord


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
