"""The rule that stops trainings, and its regret: pure functions of numbers. `bench/search_replay.py` replays them.

During a training, the model is probed at some shares of its steps (rungs), and each probe gives a provisional UE and
UT. At each rung, a trial that ran to its end shows how its probe there was related to its end: the differences of UE,
UT and Rob at the end and the provisional UE, UT and UE. Added to the provisional values of the training under way,
the differences of each such trial make one end that the training may have. Where nearly all of these ends are
dominated by the front, the training stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_sweep.evaluators.front import hypervolume, is_dominated

Point = tuple[float, float, float]
"""UE, UT and Rob, each in [0, 1]."""
Provisional = tuple[float, float]
"""UE and UT of a model under training, by a probe alone; each in [0, 1]."""
REFERENCE: Point = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial that ran to its end: what its probes gave, one at each rung, and its point; None if the model broke."""

    rungs: Sequence[Provisional]
    end: Point | None


def provisional(forget: float, retain: float, known: tuple[float, float]) -> Provisional | None:
    """Return provisional UE and UT from the mean probability of the forget and retain answers.

    `known` are the same two numbers of the original model. None if it does not know the answers at all.
    """
    if min(known) <= 0:
        return None
    return 1 - min(1.0, forget / known[0]), min(1.0, retain / known[1])


def beaten_share(
    rung: int, now: Provisional, ended: Sequence[Ended], front: Sequence[Point], *, attacked: bool = True
) -> float:
    """Return the share of the possible ends of a training that the front dominates.

    Args:
        rung: Place of the rung at which the training is.
        now: Its provisional UE and UT there.
        ended: At least one trial that ran to its end, each with all rungs.
        front: The points of the front.
        attacked: False if the sweep has no attacks: Rob is then 1 everywhere.
    """
    return sum(_is_beaten(now, one.rungs[rung], one.end, front, attacked) for one in ended) / len(ended)


def stops_at(
    rungs: Sequence[Provisional],
    ended: Sequence[Ended],
    front: Sequence[Point],
    *,
    wanted: int,
    sure: float,
    learn_from: int,
    attacked: bool = True,
) -> int | None:
    """Return the first rung at which the training stops; None if it goes on.

    Args:
        rungs: The provisional values at the rungs that the training has reached.
        ended: Trials that ran to their ends. Those that lack a rung are left out.
        front: The points of the front.
        wanted: Number of rungs of a whole training.
        sure: Least share of the possible ends that must be beaten.
        learn_from: Least number of trials to learn from; with fewer, no training stops.
        attacked: As in `beaten_share`.
    """
    whole = [one for one in ended if len(one.rungs) == wanted]
    if len(whole) < learn_from:
        return None
    for place, now in enumerate(rungs):
        if beaten_share(place, now, whole, front, attacked=attacked) >= sure:
            return place
    return None


def added_volume(point: Point | None, others: Sequence[Point]) -> float:
    """Return the hypervolume that a point adds to the front of others; 0 for None."""
    if point is None:
        return 0.0
    return hypervolume([*others, point], REFERENCE) - hypervolume(list(others), REFERENCE)


def mean_added(ran_anyway: Sequence[Point | None], others: Sequence[Point]) -> float | None:
    """Return the mean hypervolume that a trial adds which would have been stopped and ran anyway.

    That is what a sweep can know of the cost of each trial that it stopped. `others` are the points of the trials that
    would not have been stopped. None if no trial ran anyway.
    """
    if not ran_anyway:
        return None
    return sum(added_volume(point, others) for point in ran_anyway) / len(ran_anyway)


def _is_beaten(now: Provisional, then: Provisional, end: Point | None, front: Sequence[Point], attacked: bool) -> bool:
    """Whether a training ends on no front if it goes on as a finished one did, whose model may have broken (None)."""
    if end is None:
        return True
    ue, ut = now[0] + end[0] - then[0], now[1] + end[1] - then[1]
    rob = now[0] + end[2] - then[0] if attacked else 1.0
    return is_dominated(tuple(min(1.0, max(0.0, value)) for value in (ue, ut, rob)), front)
