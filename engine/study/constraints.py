"""`search.constraints`: least values of objectives, and which trials do not reach them.

An infeasible trial keeps its numbers. It is no member of the front, beats no other trial, is never recommended, gets no
further seeds, and its model is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping

from unlearn_sweep.engine.search_settings import ObjectiveName
from unlearn_sweep.engine.store.records import TrialRecord

NAMES: Mapping[ObjectiveName, str] = {"ue": "UE", "ut": "UT", "rob": "Rob"}


def infeasible_reason(record: TrialRecord, minimum: Mapping[ObjectiveName, float]) -> str | None:
    """Which least values a complete trial does not reach; None where it reaches all, or is not complete.

    Rob of a trial whose attacks were left out is an upper bound: below the least value it is infeasible all the same.
    """
    if record.state != "complete":
        return None
    missed = []
    for name, least in minimum.items():
        value = getattr(record, name)
        if value is None:
            missed.append(f"{NAMES[name]} has no value, at least {least:g} is wanted")
        elif value < least:
            missed.append(f"{NAMES[name]} {value:.4g} is below {least:g}")
    return "; ".join(missed) or None


def marked(record: TrialRecord, minimum: Mapping[ObjectiveName, float]) -> TrialRecord:
    """The record with `infeasible` as the constraints have it."""
    reason = infeasible_reason(record, minimum)
    return record if reason == record.infeasible else record.model_copy(update={"infeasible": reason})
