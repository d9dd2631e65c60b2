"""A recorded sweep (bench/search_record.csv.gz) and a search replayed over it. See search_replay.py."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search_stopping import ANYWAY, Finished, Regret, Rung, stops_at

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.samplers.unit_interval import share_of
from unlearn_sweep.engine.search_settings import LearntTrial, ObjectiveName, SearchPlan
from unlearn_sweep.engine.search_space import Choice, MethodSpace, Scalar
from unlearn_sweep.engine.stages.attack_order import next_attack, outlooks
from unlearn_sweep.engine.stages.gate import missed_constraints
from unlearn_sweep.engine.store.records import AttackScore, TrialRecord
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker
from unlearn_sweep.engine.study.constraints import marked
from unlearn_sweep.engine.study.front import REFERENCE_POINT, point_of, rivals_of
from unlearn_sweep.engine.study.sampling import distribution_of
from unlearn_sweep.evaluators.front import hypervolume, is_dominated
from unlearn_sweep.evaluators.objectives.robustness import robustness
from unlearn_sweep.evaluators.scores import Objective

HERE = Path(__file__).parent
FILE, TABLE = HERE / "search_record.yaml", HERE / "search_record.csv.gz"
KNOWN = 0.99
"""Mean probability at which the original model has its answers: that of the least moved models in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is skipped. `minimum` are constraints; the gate ends a trial that misses one; `stop`: search_stopping.py."""

    prune: bool = False
    minimum: Mapping[ObjectiveName, float]
    stop: bool = False


VARIANTS = {
    "whole": Variant(minimum={}),
    "pruned": Variant(prune=True, minimum={}),
    "gated": Variant(prune=True, minimum={"ut": 0.5}),
    "stopped": Variant(prune=True, minimum={}, stop=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One trial of the table. `attacks` and `attack_s` are by label, `errors` (standard) by "ue", "ut" and label.

    `train_s` and `evaluate_s` are CPU seconds.
    """

    number: int
    method: str
    params: dict[str, Scalar]
    state: str
    ue: float | None
    ut: float | None
    attacks: dict[str, float | None]
    attack_s: dict[str, float]
    errors: dict[str, float]
    train_s: float
    evaluate_s: float
    rungs: tuple[Rung, ...]

    @property
    def probing_s(self) -> float:
        """CPU seconds of all probes."""
        return self.rungs[-1].seconds - 0.75 * self.train_s if len(self.rungs) == 3 else 0.0


@dataclass(frozen=True, slots=True)
class Problem:
    """The recorded sweep: its job, and its trials by method."""

    job: SweepJob
    trials: dict[str, list[Recorded]]

    @property
    def spaces(self) -> dict[str, MethodSpace]:
        return {space.method: space for space in self.job.spaces}

    @property
    def costs(self) -> dict[str, float]:
        """Mean seconds of each attack."""
        seconds: dict[str, list[float]] = defaultdict(list)
        for trial in (trial for trials in self.trials.values() for trial in trials):
            for label, spent in trial.attack_s.items():
                seconds[label].append(spent)
        return {label: statistics.fmean(found) for label, found in seconds.items()}


# --- the recorded sweep ---------------------------------------------------------------------------------------------


def read_problem(table: Path, *, without: Sequence[str] = ()) -> Problem:
    """Read the table, less some methods. A trial with a stage of unknown duration is left out."""
    from unlearn_sweep.sweeps.file.spec import load_spec
    from unlearn_sweep.sweeps.resolve import Overrides, resolve

    job = resolve(load_spec(FILE), Overrides(storage=tempfile.gettempdir()))
    trials: dict[str, list[Recorded]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(gzip.decompress(table.read_bytes()).decode())):
        found = recorded(row, [attack.label for attack in job.attacks])
        if found is not None and found.method not in without:
            trials[found.method].append(found)
    spaces = [space for space in job.spaces if space.method in trials]
    return Problem(job.model_copy(update={"spaces": spaces}), dict(trials))


def recorded(row: Mapping[str, str], labels: Sequence[str]) -> Recorded | None:
    number = {
        name: float(text) for name, text in row.items() if text and name.endswith(("_s", "_value", "_se", "ue", "ut"))
    }
    ran = [label for label in labels if row["state"] == "complete"]
    if "train_s" not in number or any(f"{label}_s" not in number for label in ran):
        return None
    return Recorded(
        number=int(row["trial"]),
        method=row["method"],
        params=json.loads(row["params"]),
        state=row["state"],
        ue=number.get("ue"),
        ut=number.get("ut"),
        attacks={label: number.get(f"{label}_value") for label in ran},
        attack_s={label: number[f"{label}_s"] for label in ran},
        errors={name: number[f"{name}_se"] for name in ("ue", "ut", *ran) if f"{name}_se" in number},
        train_s=number["train_s"],
        evaluate_s=number.get("evaluate_s", 0.0),
        rungs=rungs_of(row, number["train_s"]),
    )


def rungs_of(row: Mapping[str, str], train_s: float) -> tuple[Rung, ...]:
    found, probing = [], 0.0
    for percent in (25, 50, 75):
        if row.get(f"probe{percent}_s"):
            probing += float(row[f"probe{percent}_s"])
            forget, retain = float(row[f"probe{percent}_forget"]), float(row[f"probe{percent}_retain"])
            found.append(Rung(forget, retain, train_s * percent / 100 + probing))
    return tuple(found)


def halves(problem: Problem) -> tuple[Problem, list[LearntTrial]]:
    """Every other trial of each method as the recorded sweep, and the rest as trials of another sweep."""
    rest = [trial for trials in problem.trials.values() for trial in trials[1::2]]
    families = {attack.label: attack.family for attack in problem.job.attacks}
    learnt = []
    for trial in rest:
        rob = robustness(trial.attacks, families).value if trial.state == "complete" else None
        values: dict[ObjectiveName, float] | None = None
        if trial.ue is not None and trial.ut is not None and rob is not None:
            values = {"ue": trial.ue, "ut": trial.ut, "rob": rob}
        params = {name: trial.params[name] for name in problem.spaces[trial.method].searched()}
        learnt.append(LearntTrial(method=trial.method, params=params, values=values))
    return Problem(problem.job, {method: trials[::2] for method, trials in problem.trials.items()}), learnt


def whole_volume(problem: Problem) -> float:
    """Hypervolume of all recorded trials: the most that a replayed search can reach."""
    families = {attack.label: attack.family for attack in problem.job.attacks}
    points = [
        (trial.ue, trial.ut, robustness(trial.attacks, families).value)
        for trials in problem.trials.values()
        for trial in trials
        if trial.state == "complete"
    ]
    return hypervolume(points, REFERENCE_POINT)


# --- one replayed search --------------------------------------------------------------------------------------------


class ReplayBroker(StudyBroker):
    """The engine's study over the recorded trials."""

    def __init__(self, journal: Path, problem: Problem, plan: SearchPlan) -> None:
        self.problem = problem
        self.left = {method: list(trials) for method, trials in problem.trials.items()}
        self.taken: dict[int, Recorded] = {}
        super().__init__(journal, problem.job.spaces, plan, identity={})

    def _propose(self) -> Proposal | None:
        asked = super()._propose()
        if asked is None or not self.left[asked.method]:
            return None
        space = self.spaces[asked.method]
        chosen = min(self.left[asked.method], key=lambda trial: distance(space, asked.params, trial.params))
        self.left[asked.method].remove(chosen)
        self.taken[asked.number] = chosen
        trial_id = self._trial_id(asked.number)
        for name, dimension in space.searched().items():
            distribution, value = distribution_of(dimension), chosen.params[name]
            internal = distribution.to_internal_repr(value)
            self.study._storage.set_trial_param(trial_id, f"{asked.method}.{name}", internal, distribution)
        return self.proposal_of(asked.number, asked.method, chosen.params, seed=asked.seed)


def without_errors(problem: Problem) -> Problem:
    """The same sweep, recorded without standard errors."""
    trials = {name: [replace(trial, errors={}) for trial in own] for name, own in problem.trials.items()}
    return Problem(problem.job, trials)


def distance(space: MethodSpace, one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> float:
    """Mean of squared distances over the searched parameters, each in [0, 1]."""
    parts = []
    for name, dimension in space.searched().items():
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
    regret: Regret | None = None,
) -> list[tuple[float, Any]]:
    """Seconds since the start and point of each trial, one trial at a time; a point is None if it adds nothing.

    What stopping cost is added to `regret`.
    A sampler may end in `-free` (the allocation) and in `-blind` (the study is told no standard errors).
    """
    name, *ways = sampler.split("-")
    if "blind" in ways:
        problem = without_errors(problem)
    plan = SearchPlan(
        sampler=name,
        allocation="free" if "free" in ways else "equal",
        trials=trials,
        seed=seed,
        prune=variant.prune,
        minimum=dict(variant.minimum),
        learnt=list(learnt),
    )
    steps, clock, finished = [], 0.0, list[Finished]()
    chance, regret = random.Random(seed), Regret() if regret is None else regret
    with tempfile.TemporaryDirectory() as folder:
        broker = ReplayBroker(Path(folder) / "journal", problem, plan)
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


def end_of(problem: Problem, found: Recorded) -> tuple[float, float, float] | None:
    """UE, UT and Rob of a recorded trial with all its attacks; None where the model broke."""
    families = {attack.label: attack.family for attack in problem.job.attacks}
    rob = robustness(found.attacks, families).value if found.state == "complete" else None
    return None if found.ue is None or found.ut is None or rob is None else (found.ue, found.ut, rob)


def ending(record: TrialRecord) -> tuple[float, float, float] | None:
    """UE, UT and Rob, or its bound, of a trial that ran to its end; None where the model broke."""
    if record.ue is None or record.ut is None or record.rob is None:
        return None
    return record.ue, record.ut, record.rob
