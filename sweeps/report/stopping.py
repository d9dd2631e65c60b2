"""What stopping trainings saved and cost: for the report, `report --json`, `status` and the last words of a run."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.study.stopping import stopping_cost
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.records import SweepData


class Stopping(BaseModel):
    """What stopping trainings saved and cost, on the search half: fields as in `engine.study.stopping.StoppingCost`."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)

    probed: int
    stopped: list[int]
    ran_anyway: list[int]
    mean_added: float | None
    regret: float | None
    at_most: bool
    reason: str | None
    seconds_saved: float
    probe_seconds: float


def stopping_of(data: SweepData) -> Stopping | None:
    """Return what stopping saved and cost; None for a sweep that stops no trainings."""
    if data.spec_value("search", "stop_trainings") is None:
        return None
    return Stopping.model_validate(asdict(stopping_cost(data.trials, attacked="rob" in data.objectives)))


def stopping_text(found: Stopping | None) -> str | None:
    """Return what stopping saved and cost in one line; None for a sweep that stops no trainings."""
    if found is None:
        return None
    probes = f"probes took {duration(found.probe_seconds)}"
    if not found.stopped:
        return f"no training was stopped ({found.probed} were probed; {probes})"
    count = len(found.stopped)
    saved = f"{count} of {found.probed} trainings stopped, about {duration(found.seconds_saved)} saved; {probes}"
    if found.regret is None:
        return f"{saved}; what it cost is unknown: {found.reason}"
    by = f"by {len(found.ran_anyway)} that would have stopped and ran on"
    return f"{saved}; it cost {'at most ' if found.at_most else ''}about {found.regret:.4f} of hypervolume, {by}"
