"""What stopping trainings saved and cost: for the report, `report --json`, `status` and the last words of a run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.study.stopping import stopping_cost
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.records import SweepData


class Stopping(BaseModel):
    """What stopping trainings saved and cost (`engine.study.stopping.StoppingCost`, on the search half).

    Attributes:
        probed: Number of trials whose training was probed.
        stopped: Numbers of the trials whose training was stopped.
        ran_anyway: Numbers of the trials that would have been stopped and ran to their ends.
        mean_added: Mean hypervolume that one of `ran_anyway` adds to the front of the trials that would not have been
            stopped; None if there is none.
        regret: `mean_added` times the number of stopped trials: the estimated cost in hypervolume. None with `reason`.
        at_most: Whether a skipped attack makes the regret an upper bound.
        reason: Why there is no regret.
        seconds_saved: Estimated seconds of training that were saved.
        probe_seconds: Seconds of all probes.
    """

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
    cost = stopping_cost(data.trials, attacked="rob" in data.objectives)
    return Stopping(
        probed=cost.probed,
        stopped=list(cost.stopped),
        ran_anyway=list(cost.ran_anyway),
        mean_added=cost.mean_added,
        regret=cost.regret,
        at_most=cost.at_most,
        reason=cost.reason,
        seconds_saved=cost.seconds_saved,
        probe_seconds=cost.probe_seconds,
    )


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
