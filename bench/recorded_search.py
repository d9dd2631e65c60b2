"""A search replayed over a recorded sweep (recorded_table.py). See search_replay.py."""

from __future__ import annotations

import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from recorded_table import Problem, Recorded, end_of, published_settings, without_errors
from search_stopping import ANYWAY, Finished, Regret, stops_at

from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.engine.samplers.unit_interval import share_of
from unlearn_sweep.engine.search_settings import Configuration, LearntTrial, ObjectiveName, SearchPlan
from unlearn_sweep.engine.search_space import (
    CHECKPOINT,
    Choice,
    Dimension,
    Scalar,
    at_share,
    whole_run,
)
from unlearn_sweep.engine.search_space import share_of as share_of_run
from unlearn_sweep.engine.stages.attack_order import next_attack, outlooks
from unlearn_sweep.engine.stages.gate import missed_constraints
from unlearn_sweep.engine.store.records import AttackScore, TrialRecord
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker
from unlearn_sweep.engine.study.constraints import marked
from unlearn_sweep.engine.study.front import point_of, rivals_of
from unlearn_sweep.engine.study.sampling import distribution_of
from unlearn_sweep.engine.training_space import checkpoint_shares
from unlearn_sweep.evaluators.front import is_dominated
from unlearn_sweep.evaluators.objectives.robustness import robustness
from unlearn_sweep.evaluators.scores import Objective

KNOWN = 0.99
"""Mean probability at which the original model has its answers: that of the least moved models in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is skipped. `minimum` are constraints; the gate ends a trial that misses one; `stop`: search_stopping.py.

    `halfway`: the weights half-way through each training are a trial of their own, which trains nothing.
    """

    prune: bool = False
    minimum: Mapping[ObjectiveName, float]
    stop: bool = False
    halfway: bool = False


VARIANTS = {
    "whole": Variant(minimum={}),
    "pruned": Variant(prune=True, minimum={}),
    "gated": Variant(prune=True, minimum={"ut": 0.5}),
    "stopped": Variant(prune=True, minimum={}, stop=True),
    "halfway": Variant(prune=True, minimum={}, halfway=True),
}


class ReplayBroker(StudyBroker):
    """The engine's study over the recorded trials. `halfway`: with all recorded shares of each training."""

    def __init__(self, journal: Path, problem: Problem, plan: SearchPlan, *, halfway: bool = False) -> None:
        self.problem, self.halfway = problem, halfway
        self.left = {
            method: [trial for trial in trials if trial.on_the_way or not halfway]
            for method, trials in problem.trials.items()
        }
        self.taken: dict[int, Recorded] = {}
        spaces = problem.spaces_with_shares if halfway else problem.spaces
        shares = partial(checkpoint_shares, problem.job.training) if halfway else lambda params: ()
        super().__init__(journal, spaces.values(), plan, identity={}, shares=shares)

    def _propose(self) -> Proposal | None:
        asked = super()._propose()
        if asked is None:
            return None
        share = share_of_run(asked.params)
        if share < 1:
            whole = next(number for number, done in self.proposals.items() if self._is_end_of(asked, done))
            self.taken[asked.number] = self.taken[whole].on_the_way[share]
            return asked
        if not self.left[asked.method]:
            return None
        space = self.spaces[asked.method]
        known = whole_run(space.searched())
        chosen = min(self.left[asked.method], key=lambda trial: distance(known, asked.params, trial.params))
        self.left[asked.method].remove(chosen)
        self.taken[asked.number] = chosen
        params = at_share(chosen.params, 1.0) if self.halfway else chosen.params
        trial_id = self._trial_id(asked.number)
        for name, dimension in space.searched().items():
            distribution, value = distribution_of(dimension), params[name]
            internal = distribution.to_internal_repr(value)
            self.study._storage.set_trial_param(trial_id, f"{asked.method}.{name}", internal, distribution)
        return self.proposal_of(asked.number, asked.method, params, seed=asked.seed)

    def _is_end_of(self, asked: Proposal, done: Proposal) -> bool:
        """Whether `done` is the end of the training that `asked` is a share of."""
        return done.method == asked.method and done.params == at_share(asked.params, 1.0)


def distance(searched: Mapping[str, Dimension], one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> float:
    """Mean of squared distances over the searched parameters, each in [0, 1]."""
    parts = []
    for name, dimension in searched.items():
        if isinstance(dimension, Choice):
            parts.append(float(one[name] != other[name]))
        else:
            parts.append((share_of(dimension, one[name]) - share_of(dimension, other[name])) ** 2)
    return statistics.fmean(parts)


def replay(
    problem: Problem,
    sampler: str,
    variant: Variant,
    *,
    seed: int,
    trials: int,
    learnt: Sequence[LearntTrial] = (),
    beliefs: Sequence[Configuration] = (),
    regret: Regret | None = None,
) -> list[tuple[float, Any]]:
    """Seconds since the start and point of each trial, one trial at a time; a point is None if it adds nothing.

    `trials` are trainings. What stopping cost is added to `regret`.
    A sampler may end in `-free` (the allocation), `-blind` (the study is told no standard errors) and `-published`
    (each method begins with its published settings).
    """
    name, *ways = sampler.split("-")
    if unknown := set(ways) - {"free", "blind", "published"}:
        raise ValueError(f"sampler {sampler}: no such way as {', '.join(sorted(unknown))}")
    if "blind" in ways:
        problem = without_errors(problem)
    plan = SearchPlan(
        sampler=name,
        allocation="free" if "free" in ways else "equal",
        trials=trials * (len(checkpoint_shares(problem.job.training, {CHECKPOINT: 1.0})) if variant.halfway else 1),
        seed=seed,
        prune=variant.prune,
        minimum=dict(variant.minimum),
        learnt=list(learnt),
        first=published_settings(problem) if "published" in ways else [],
        beliefs=list(beliefs),
    )
    steps, clock, finished = [], 0.0, list[Finished]()
    chance, regret = random.Random(seed), Regret() if regret is None else regret
    with tempfile.TemporaryDirectory() as folder:
        broker = ReplayBroker(Path(folder) / "journal", problem, plan, halfway=variant.halfway)
        while (asked := broker.ask()) is not None:
            visible = [broker.settled[number] for number in sorted(broker.settled)]
            found = broker.taken[asked.number]
            at = stops_at(found.rungs, finished, rivals_of(visible), KNOWN) if variant.stop else None
            anyway = at is not None and chance.random() < ANYWAY
            if at is not None and not anyway:
                record, seconds = stopped(asked), found.rungs[at].seconds
                regret.stopped.append(end_of(problem, found))
            else:
                regret.anyway += [end_of(problem, found)] if anyway else []
                record, seconds = settle(problem, variant, asked, found, visible)
                seconds += found.probing_s if variant.stop else 0.0
                seconds += found.export_s if variant.halfway else 0.0
                finished.append(Finished(found.rungs, ending(record)))
            broker.settle(record)
            clock += seconds
            steps.append((clock, point_of(record)))
    return steps


def settle(
    problem: Problem, variant: Variant, asked: Proposal, found: Recorded, visible: Sequence[TrialRecord]
) -> tuple[TrialRecord, float]:
    """Record of the trial as this variant would have run it, and the seconds of the stages that it would have run."""
    record = TrialRecord(
        number=asked.number, key=asked.key, method=asked.method, params=asked.params, seed=asked.seed,
        state="complete" if found.state == "complete" else "collapsed", started=0.0, finished=float(asked.number),
        ue=found.ue, ut=found.ut, ue_detail=measured("ue", found.ue, found), ut_detail=measured("ut", found.ut, found),
    )  # fmt: skip
    seconds = found.train_s + found.evaluate_s
    if found.state != "complete":
        return record, seconds
    scores, spent = attacked(problem, variant, found, visible)
    families = {attack.label: attack.family for attack in problem.job.attacks}
    rob = robustness({score.attack: score.value for score in scores if not score.skipped}, families)
    record = record.model_copy(
        update={"rob": rob.value, "rob_detail": rob, "rob_is_bound": rob.is_bound, "attacks": scores}
    )
    return marked(record, variant.minimum), seconds + spent


def attacked(
    problem: Problem, variant: Variant, found: Recorded, visible: Sequence[TrialRecord]
) -> tuple[list[AttackScore], float]:
    """Scores of the attacks in the engine's order, until one of its reasons to skip the rest, and their seconds."""
    families = {attack.label: attack.family for attack in problem.job.attacks}
    outlook = outlooks(visible, problem.job.attacks, problem.costs, timed=False)
    rivals, waiting = rivals_of(visible), list(problem.job.attacks)
    done: list[AttackScore] = []

    def ends(scores: Mapping[str, float | None]) -> bool:
        bound = robustness(scores, families).value
        point = (found.ue, found.ut, 1.0 if bound is None else bound)
        missed = missed_constraints(dict(zip(("ue", "ut", "rob"), point, strict=True)), variant.minimum)
        return variant.prune and (missed is not None or is_dominated(point, rivals))

    while waiting and not ends({score.attack: score.value for score in done}):
        attack = next_attack(waiting, done, outlook, ends)
        done.append(_score(attack, found.attacks[attack.label], error=found.errors.get(attack.label)))
        waiting.remove(attack)
    spent = sum(found.attack_s[score.attack] for score in done)
    return [*done, *(_score(attack, None, skipped=True) for attack in waiting)], spent


def measured(name: str, value: float | None, found: Recorded) -> Objective:
    return Objective(value=value, standard_error=found.errors.get(name))


def _score(
    attack: AttackSettings, value: float | None, *, error: float | None = None, skipped: bool = False
) -> AttackScore:
    return AttackScore(attack=attack.label, family=attack.family, value=value, standard_error=error, skipped=skipped)


def stopped(asked: Proposal) -> TrialRecord:
    """Record of a trial whose training was stopped: told to the study as one to keep away from."""
    return TrialRecord(
        number=asked.number, key=asked.key, method=asked.method, params=asked.params, seed=asked.seed,
        state="collapsed", started=0.0, finished=float(asked.number),
    )  # fmt: skip


def ending(record: TrialRecord) -> tuple[float, float, float] | None:
    """UE, UT and Rob, or its bound, of a trial that ran to its end; None where the model broke."""
    if record.ue is None or record.ut is None or record.rob is None:
        return None
    return record.ue, record.ut, record.rob
