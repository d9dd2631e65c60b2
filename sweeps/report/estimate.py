"""Estimate the remaining time of a sweep and its utilisation: from recorded times, before the first trial by plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unlearn_sweep.sweeps.report.timeline import Timeline

RECENT = 20


def trial_durations(timeline: Timeline) -> list[float]:
    """Return the wall seconds of all settled trials except duplicates, in the order in which they settled."""
    return [
        event.seconds
        for event in timeline.settled.values()
        if event.seconds is not None and event.data.get("state") != "duplicate"
    ]


def time_left(timeline: Timeline, *, wanted: int, now: float) -> float | None:
    """Estimate the wall seconds until `wanted` trials are settled; None if unknown.

    Before the first trial settles it is what is left of the plan (within a factor of about 2), and None once that is
    used up.
    """
    durations = trial_durations(timeline)
    if not timeline.settled and wanted > 0:
        return None if timeline.planned_end is None or timeline.planned_end <= now else timeline.planned_end - now
    settled = sum(event.data.get("state") != "duplicate" for event in timeline.settled.values())
    started = [trial.started for trial in timeline.open_trials.values() if trial.started is not None]
    return seconds_left(
        durations,
        remaining=wanted - settled,
        slots=max(len(started), timeline.peak_trials),
        running_for=[max(0.0, now - began) for began in started],
    )


def seconds_left(
    durations: Sequence[float], *, remaining: int, slots: int, running_for: Iterable[float] = ()
) -> float | None:
    """Estimate the wall seconds until `remaining` more trials are settled; None if `durations` is empty.

    The estimate is (`remaining` * mean - time already spent on running trials) / `slots`, where mean is taken over the
    last 20 durations. A trial that has run longer than the mean counts as finished. Never negative.
    """
    if remaining <= 0:
        return 0.0
    if not durations:
        return None
    mean = sum(durations[-RECENT:]) / len(durations[-RECENT:])
    done = sum(min(seconds, mean) for seconds in running_for)
    return max(0.0, remaining * mean - done) / max(1, slots)


def utilisation(timeline: Timeline, *, elapsed: float, slots: int | None, running: float = 0.0) -> float | None:
    """Return the seconds in stages divided by (`elapsed` seconds * `slots`); None if either is unknown or zero.

    Counts stages that ended, well or not, and the seconds that those still `running` have spent so far. A stage counts
    as one busy slot, regardless of how many processes it uses.
    """
    if not slots or elapsed <= 0:
        return None
    return (timeline.compute_seconds() + running) / (elapsed * slots)


def slots_of(timeline: Timeline, configured: object) -> int | None:
    """Return how many trials may run at once.

    This is what the driver found room for, which may be less than the sweep allows. If the log does not say, it is
    `configured` if that is a positive integer, else the highest number of stages that ran at once so far. None if no
    stage has started.
    """
    if timeline.places is not None:
        return timeline.places
    if isinstance(configured, int) and not isinstance(configured, bool) and configured > 0:
        return configured
    return timeline.peak_stages or None
