"""Stop a training that will be beaten, judged by probes on the way: what search_replay.py replays as `stopped`.

At each rung, a finished trial of the run says how its probe was related to its end: the difference of UE, UT and Rob at
the end and the provisional UE and UT. These differences, one of each finished trial, are added to the provisional
values of the trial that trains; where at least SURE of the points so made are beaten by the front, it stops. A random
ANYWAY of the trials that would stop run to their ends all the same, and say what stopping the others cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from unlearn_sweep.evaluators.front import hypervolume, is_dominated

Point = tuple[float, float, float]
SURE = 0.95
LEARN_FROM = 10
ANYWAY = 0.2


@dataclass(frozen=True, slots=True)
class Rung:
    """A probe: mean probability of the forget and retain answers, and CPU seconds of the training and probes so far."""

    forget: float
    retain: float
    seconds: float

    def provisional(self, known: float) -> tuple[float, float]:
        """UE and UT by the probe alone. `known` is the probability at which the original model has the answers."""
        return 1 - min(1.0, self.forget / known), min(1.0, self.retain / known)


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial that ran to its end: its rungs, and its point or None where the model broke."""

    rungs: Sequence[Rung]
    point: Point | None


def stops_at(rungs: Sequence[Rung], finished: Sequence[Finished], front: Sequence[Point], known: float) -> int | None:
    """The rung at which the trial stops; None if it runs to its end. Learns from LEARN_FROM finished trials on."""
    whole = [one for one in finished if len(one.rungs) == len(rungs)]
    if len(whole) < LEARN_FROM:
        return None
    for place, rung in enumerate(rungs):
        ue, ut = rung.provisional(known)
        beaten = 0
        for one in whole:
            then_ue, then_ut = one.rungs[place].provisional(known)
            if one.point is None:  # the model broke: such an end is no point of a front
                beaten += 1
                continue
            end = (ue + one.point[0] - then_ue, ut + one.point[1] - then_ut, ue + one.point[2] - then_ue)
            beaten += is_dominated(tuple(min(1.0, max(0.0, value)) for value in end), front)
        if beaten >= SURE * len(whole):
            return place
    return None


@dataclass(slots=True)
class Regret:
    """What stopping cost: ends of the trials that were stopped, and of those that would have been and ran anyway.

    An end is None where the model broke. Those of stopped trials are known to a replay alone.
    """

    stopped: list[Point | None] = field(default_factory=list)
    anyway: list[Point | None] = field(default_factory=list)

    def measured(self, front: Sequence[Point]) -> float | None:
        """Return the mean hypervolume that a trial adds which ran anyway, to the front of all other trials.

        That is what a sweep can know of the cost of each stopped trial. None without such a trial.
        """
        if not self.anyway:
            return None
        others = [point for point in front if point not in self.anyway]
        return sum(_added(point, others) for point in self.anyway) / len(self.anyway)

    def true(self, front: Sequence[Point]) -> float:
        """Return the hypervolume that all stopped trials together would have added to the front."""
        ends = [point for point in self.stopped if point is not None]
        return hypervolume([*front, *ends], (0.0, 0.0, 0.0)) - hypervolume(list(front), (0.0, 0.0, 0.0))


def _added(point: Point | None, others: Sequence[Point]) -> float:
    if point is None:
        return 0.0
    return hypervolume([*others, point], (0.0, 0.0, 0.0)) - hypervolume(list(others), (0.0, 0.0, 0.0))
