"""Stopping of trainings in a replay: the engine's rule and regret over recorded probes. See search_replay.py.

The defaults of `search: {stop_trainings: true}` are replayed, with the probability at which the original model has the
answers given (`known`), where the engine probes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from unlearn_sweep.engine.stopping import rule
from unlearn_sweep.engine.stopping.rule import Point, Provisional, mean_added
from unlearn_sweep.engine.stopping.settings import StopTrainings
from unlearn_sweep.evaluators.front import hypervolume

SETTINGS = StopTrainings()
ANYWAY = SETTINGS.finish_anyway


@dataclass(frozen=True, slots=True)
class Rung:
    """A probe: mean probability of the forget and retain answers, and CPU seconds of the training and probes so far."""

    forget: float
    retain: float
    seconds: float

    def provisional(self, known: float) -> Provisional:
        """UE and UT by the probe alone. `known` is the probability at which the original model has the answers."""
        found = rule.provisional(self.forget, self.retain, (known, known))
        if found is None:
            raise ValueError("the original model does not know the answers")
        return found


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial that ran to its end: its rungs, and its point or None where the model broke."""

    rungs: Sequence[Rung]
    point: Point | None


def stops_at(rungs: Sequence[Rung], finished: Sequence[Finished], front: Sequence[Point], known: float) -> int | None:
    """The rung at which the trial stops; None if it runs to its end, by the engine's rule and its defaults."""
    return rule.stops_at(
        [rung.provisional(known) for rung in rungs],
        [rule.Ended([rung.provisional(known) for rung in one.rungs], one.point) for one in finished],
        front,
        wanted=len(rungs),
        sure=SETTINGS.sure,
        learn_from=SETTINGS.learn_from,
    )


@dataclass(slots=True)
class Regret:
    """What stopping cost: ends of the trials that were stopped, and of those that would have been and ran anyway.

    An end is None where the model broke. Those of stopped trials are known to a replay alone.
    """

    stopped: list[Point | None] = field(default_factory=list)
    anyway: list[Point | None] = field(default_factory=list)

    def measured(self, front: Sequence[Point]) -> float | None:
        """Return the mean hypervolume that a trial adds which ran anyway, to the front of the trials that did not.

        None without such a trial.
        """
        return mean_added(self.anyway, [point for point in front if point not in self.anyway])

    def true(self, front: Sequence[Point]) -> float:
        """Return the hypervolume that all stopped trials together would have added to the front."""
        ends = [point for point in self.stopped if point is not None]
        return hypervolume([*front, *ends], rule.REFERENCE) - hypervolume(list(front), rule.REFERENCE)
