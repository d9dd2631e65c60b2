"""Where the time of a sweep went: work, lost work, starting up, and slots with nothing in them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.estimate import utilisation
from unlearn_sweep.sweeps.report.timeline import Timeline


class TimeAccount(BaseModel):
    """Seconds. `available` is wall time times slots; None, as what follows from it, where the slots are not known.

    `work` was spent in stages that ended well, `lost` in those that failed or were cut off by a kill, `startup` before
    the first stage of each run (in every slot), `idle` is the rest of `available`. `waiting` is the time between asking
    for a trial and its start, summed over trials; a slot may have been busy meanwhile, so it is no part of the sum.
    `utilisation` is the share of `available` spent in stages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")

    elapsed: float
    slots: int | None
    available: float | None
    work: float
    lost: float
    startup: float
    waiting: float
    idle: float | None
    utilisation: float | None


def time_account(timeline: Timeline, *, elapsed: float, slots: int | None) -> TimeAccount:
    """The account of a sweep from its event log. `elapsed` and `slots` as for `utilisation`."""
    work = sum(cost.seconds for cost in timeline.costs.values())
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
        utilisation=utilisation(timeline, elapsed=elapsed, slots=slots),
    )


def time_text(account: TimeAccount) -> str:
    """One sentence."""
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
