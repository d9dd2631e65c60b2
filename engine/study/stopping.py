"""What a sweep's records say about stopping trainings: for the next decision, and of what stopping cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stopping.decision import are_whole, provisional_of, runs_anyway
from unlearn_sweep.engine.stopping.records import EndedTrial, Probing, StopFacts
from unlearn_sweep.engine.stopping.rule import Point, added_volume, mean_added
from unlearn_sweep.engine.stopping.settings import StopTrainings
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.front import members_of, point_of

KEPT = 200
"""Trials that a decision learns from: the last that ended."""


def probing_of(job: SweepJob, number: int, visible: Sequence[TrialRecord], rivals: Sequence[Point]) -> Probing | None:
    """Return how the training of a trial is probed and stopped; None if the sweep stops none.

    Args:
        job: The sweep.
        number: Number of the trial.
        visible: The settled trials that it may depend on.
        rivals: The points of their front.
    """
    settings = job.search.stop_trainings
    if settings is None or not job.search.trains:
        return None
    ended = ended_trials(visible, settings, attacked=bool(job.attacks))
    facts = StopFacts(
        sure=settings.sure,
        learn_from=settings.learn_from,
        ended=tuple(ended[-KEPT:]),
        front=tuple(rivals),
        attacked=bool(job.attacks),
    )
    anyway = runs_anyway(settings.finish_anyway, seed=job.seed, number=number)
    return Probing(rungs=settings.rungs, rows=settings.rows, facts=facts, finish_anyway=anyway)


def ended_trials(records: Sequence[TrialRecord], settings: StopTrainings, *, attacked: bool) -> list[EndedTrial]:
    """Return the trials that ran to their ends and have all probes, in the given order.

    A trial whose model collapsed has no point. A complete one without an objective, and one whose training has no such
    probes, is left out: it says nothing.
    """
    found = []
    for record in records:
        if record.state not in ("complete", "collapsed") or record.training is None:
            continue
        if not are_whole(record.training.probes, settings.rungs, settings.rows):
            continue
        rungs, end = provisional_of(record.training.probes), end_of(record, attacked=attacked)
        if len(rungs) == len(settings.rungs) and (end is not None or record.state == "collapsed"):
            found.append(EndedTrial(rungs=tuple(rungs), end=end))
    return found


def end_of(record: TrialRecord, *, attacked: bool) -> Point | None:
    """Return UE, UT and Rob, or its upper bound, of a complete trial; None if it is not complete or lacks one.

    Without attacks, Rob is 1 everywhere.
    """
    rob = record.rob if attacked else 1.0
    if record.state != "complete" or record.ue is None or record.ut is None or rob is None:
        return None
    return record.ue, record.ut, rob


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingCost:
    """What stopping trainings saved and cost so far.

    Attributes:
        probed: Trials whose training was probed.
        stopped: Numbers of the trials whose training was stopped.
        ran_anyway: Numbers of the settled trials that would have been stopped and ran to their ends.
        mean_added: Mean hypervolume that such a trial adds to the front of the trials that would not have been stopped;
            None without such a trial.
        regret: `mean_added` times the number of stopped trials: an estimate of the hypervolume that stopping cost.
        at_most: Whether the regret is an upper bound: the Rob of a trial that counts in it is one.
        reason: Why there is no regret; None if there is one.
        seconds_saved: Estimated seconds of the steps that were not taken, by the seconds of those that were.
        probe_seconds: Seconds of all probes.
    """

    probed: int
    stopped: tuple[int, ...]
    ran_anyway: tuple[int, ...]
    mean_added: float | None
    regret: float | None
    at_most: bool
    reason: str | None
    seconds_saved: float
    probe_seconds: float


def stopping_cost(records: Sequence[TrialRecord], *, attacked: bool) -> StoppingCost:
    """Return what stopping saved and cost, by the records of a sweep.

    A trial that ran anyway adds nothing if it misses a constraint or its model collapsed. One that failed says nothing
    and is left out. Where attacks of one were skipped, its bound stands for its Rob.
    """
    probed = [record for record in records if record.training is not None and record.training.probes]
    stopped = [record for record in probed if record.state == "stopped"]
    anyway = [
        record
        for record in records
        if record.stopping is not None and record.stopping.ran_anyway and record.state in ("complete", "collapsed")
    ]
    apart = {record.number for record in anyway}
    others = [
        point
        for record in members_of([record for record in records if record.number not in apart])
        if (point := point_of(record)) is not None
    ]
    ends = [None if record.infeasible else end_of(record, attacked=attacked) for record in anyway]
    mean = mean_added(ends, others)
    bounds = [end for record, end in zip(anyway, ends, strict=True) if record.rob_is_bound]
    return StoppingCost(
        probed=len(probed),
        stopped=tuple(record.number for record in stopped),
        ran_anyway=tuple(record.number for record in anyway),
        mean_added=mean,
        regret=None if mean is None or not stopped else mean * len(stopped),
        at_most=any(added_volume(end, others) > 0 for end in bounds),
        reason=_no_regret(len(stopped), len(anyway)),
        seconds_saved=sum(map(_seconds_saved, stopped)),
        probe_seconds=sum(probe.seconds for record in probed if record.training for probe in record.training.probes),
    )


def _no_regret(stopped: int, anyway: int) -> str | None:
    if not stopped:
        return "no training was stopped"
    return None if anyway else "no trial that would have been stopped ran to its end"


def _seconds_saved(record: TrialRecord) -> float:
    outcome = record.training
    if outcome is None or not outcome.steps:
        return 0.0
    return (outcome.planned_steps - outcome.steps) * outcome.seconds / outcome.steps
