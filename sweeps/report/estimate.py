"""How long a sweep still takes, and how busy it keeps its machines. Arithmetic on recorded times only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unlearn_sweep.sweeps.report.timeline import Timeline

RECENT = 20


def trial_durations(timeline: Timeline) -> list[float]:
    """Wall seconds of the settled trials that were run, in the order they were settled."""
    return [
        event.seconds
        for event in timeline.settled.values()
        if event.seconds is not None and event.data.get("state") != "duplicate"
    ]


def seconds_left(
    durations: Sequence[float], *, remaining: int, slots: int, running_for: Iterable[float] = ()
) -> float | None:
    """Wall seconds until `remaining` trials are settled; None before the first one is.

    The mean of the last 20 durations times the trials that remain, minus what the running ones have done, over the
    trials that run at once. A running trial that is late counts as done.
    """
    if remaining <= 0:
        return 0.0
    if not durations:
        return None
    mean = sum(durations[-RECENT:]) / len(durations[-RECENT:])
    done = sum(min(seconds, mean) for seconds in running_for)
    return max(0.0, remaining * mean - done) / max(1, slots)


def utilisation(timeline: Timeline, *, elapsed: float, slots: int | None) -> float | None:
    """Seconds inside stages over wall seconds times slots; None where either is unknown or zero.

    A stage counts as one busy slot however many processes it uses.
    """
    if not slots or elapsed <= 0:
        return None
    return timeline.compute_seconds() / (elapsed * slots)


def slots_of(timeline: Timeline, configured: object) -> int | None:
    """Trials that may run at once: what the sweep was told, else the most stages open together; None before any."""
    if isinstance(configured, int) and not isinstance(configured, bool) and configured > 0:
        return configured
    return timeline.peak_stages or None
