"""Break down the time of a sweep: useful work, lost work, start-up and idle slots."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.estimate import utilisation
from unlearn_sweep.sweeps.report.timeline import Timeline


class TimeAccount(BaseModel):
    """Break-down of a sweep's time. All times are in seconds.

    Attributes:
        elapsed: Wall time of all runs, without the pauses between them.
        slots: Number of trials that may run at once; None if unknown.
        available: `elapsed` times `slots`; None if `slots` is unknown.
        work: Time in stages that succeeded or still run, summed over slots.
        lost: Time in stages that failed or were killed, summed over slots.
        startup: Time before the first stage of each run, counted once per run. Every slot is unused meanwhile.
        waiting: Time between proposing a trial and starting it, summed over trials. It overlaps the other entries.
        idle: The rest: `available` minus `work`, `lost` and `slots` times `startup`; at least 0. None if unknown.
        utilisation: Share of `available` spent in stages, failed and running ones included; None if unknown.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")

    elapsed: float
    slots: int | None
    available: float | None
    work: float
    lost: float
    startup: float
    waiting: float
    idle: float | None
    utilisation: float | None


def time_account(timeline: Timeline, *, elapsed: float, slots: int | None, running: float = 0.0) -> TimeAccount:
    """Compute the break-down from the event log.

    `elapsed` is the wall time in seconds, `slots` as in `TimeAccount`, `running` the seconds that the stages of a live
    sweep have spent so far.
    """
    work = sum(cost.seconds for cost in timeline.costs.values()) + running
    lost, startup = timeline.lost_work_seconds(), timeline.startup_seconds
    available = elapsed * slots if slots else None
    idle = None if available is None else max(0.0, available - work - lost - startup * (slots or 0))
    return TimeAccount(
        elapsed=elapsed,
        slots=slots,
        available=available,
        work=work,
        lost=lost,
        startup=startup,
        waiting=timeline.waiting_seconds,
        idle=idle,
        utilisation=utilisation(timeline, elapsed=elapsed, slots=slots, running=running),
    )


def time_text(account: TimeAccount) -> str:
    """Return the break-down as one sentence."""
    parts = [f"{duration(account.work)} of work"]
    if account.lost > 0:
        parts.append(f"{duration(account.lost)} of lost work")
    parts.append(f"{duration(account.startup)} of starting up")
    if account.idle is None or account.available is None or account.utilisation is None:
        return ", ".join(parts)
    slots = f"{account.slots} slot{'s' if account.slots != 1 else ''}"
    return (
        f"{', '.join(parts)}, {duration(account.idle)} idle, of {duration(account.available)} in {slots}: "
        f"utilisation {100 * account.utilisation:.0f}%"
    )
