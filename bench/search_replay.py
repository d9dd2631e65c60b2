"""Compare searches over a recorded sweep, in minutes and without training (bench/search_record.py made the table).

    python bench/search_replay.py run --rows FILE            # every sampler and variant, ten seeds each
    python bench/search_replay.py summary --rows FILE        # the table
    python bench/search_replay.py draw --rows FILE --out FILE.svg

The engine's own study proposes. A proposal is replaced by the nearest recorded trial of the same method that this run
has not had, and the study is told that trial's settings and results: no number is made up, and the search space is the
recorded trials. Nearest: least mean of squared distances over the searched parameters, each on the scale on which it is
searched; two different words are 1 apart. Seconds are the CPU seconds of the stages that the variant would have run.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.samplers.unit_interval import share_of
from unlearn_sweep.engine.search_settings import ObjectiveName, SearchPlan
from unlearn_sweep.engine.search_space import Choice, MethodSpace, Scalar
from unlearn_sweep.engine.stages.attack_order import next_attack, outlooks
from unlearn_sweep.engine.stages.gate import missed_constraints
from unlearn_sweep.engine.store.records import AttackScore, TrialRecord
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker
from unlearn_sweep.engine.study.constraints import marked
from unlearn_sweep.engine.study.front import REFERENCE_POINT, point_of, rivals_of
from unlearn_sweep.engine.study.sampling import distribution_of
from unlearn_sweep.evaluators.front import hypervolume, hypervolume_curve, is_dominated
from unlearn_sweep.evaluators.objectives.robustness import robustness

HERE = Path(__file__).parent
FILE, TABLE = HERE / "search_record.yaml", HERE / "search_record.csv.gz"
SAMPLERS = ("random", "qmc", "tpe", "nsga2", "tpe-free")
SHADES = {
    "random": "#767676", "qmc": "#009e73", "tpe": "#0072b2", "tpe-free": "#56b4e9", "nsga2": "#d55e00", "gp": "#cc79a7",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is skipped. `minimum` are constraints; the gate ends a trial that misses one."""

    prune: bool = False
    minimum: Mapping[ObjectiveName, float]


VARIANTS = {
    "whole": Variant(minimum={}),
    "pruned": Variant(prune=True, minimum={}),
    "gated": Variant(prune=True, minimum={"ut": 0.5}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One trial of the table. `attacks` and `attack_s` are by label; `train_s` and `evaluate_s` are CPU seconds."""

    number: int
    method: str
    params: dict[str, Scalar]
    state: str
    ue: float | None
    ut: float | None
    attacks: dict[str, float | None]
    attack_s: dict[str, float]
    train_s: float
    evaluate_s: float


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("run", "summary", "draw"))
    parser.add_argument("--table", type=Path, default=TABLE, help="the recorded sweep")
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines, one for each replayed run")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--variants", nargs="+", default=tuple(VARIANTS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--out", type=Path, help="picture to draw: .svg or .png")
    options = parser.parse_args()
    problem = read_problem(options.table)
    if options.do == "run":
        run_all(problem, options)
    elif options.do == "summary":
        print_summary(read_runs(options.rows), whole_volume(problem))
    else:
        draw(read_runs(options.rows), whole_volume(problem), options.out)


# --- the recorded sweep ---------------------------------------------------------------------------------------------


def read_problem(table: Path) -> Problem:
    """Read the table. A trial with a stage of unknown duration is left out."""
    from unlearn_sweep.sweeps.file.spec import load_spec
    from unlearn_sweep.sweeps.resolve import Overrides, resolve

    job = resolve(load_spec(FILE), Overrides(storage=tempfile.gettempdir()))
    trials: dict[str, list[Recorded]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(gzip.decompress(table.read_bytes()).decode())):
        found = recorded(row, [attack.label for attack in job.attacks])
        if found is not None:
            trials[found.method].append(found)
    return Problem(job, dict(trials))


def recorded(row: Mapping[str, str], labels: Sequence[str]) -> Recorded | None:
    number = {name: float(text) for name, text in row.items() if text and name.endswith(("_s", "_value", "ue", "ut"))}
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
        train_s=number["train_s"],
        evaluate_s=number.get("evaluate_s", 0.0),
    )


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


def distance(space: MethodSpace, one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> float:
    """Mean of squared distances over the searched parameters, each in [0, 1]."""
    parts = []
    for name, dimension in space.searched().items():
        if isinstance(dimension, Choice):
            parts.append(float(one[name] != other[name]))
        else:
            parts.append((share_of(dimension, one[name]) - share_of(dimension, other[name])) ** 2)
    return statistics.fmean(parts)


def replay(problem: Problem, sampler: str, variant: Variant, *, seed: int, trials: int) -> list[tuple[float, Any]]:
    """Seconds since the start and point of each trial, one trial at a time; a point is None if it adds nothing."""
    name, _, free = sampler.partition("-")
    plan = SearchPlan(
        sampler=name,
        allocation="free" if free else "equal",
        trials=trials,
        seed=seed,
        prune=variant.prune,
        minimum=dict(variant.minimum),
    )
    steps, clock = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        broker = ReplayBroker(Path(folder) / "journal", problem, plan)
        while (asked := broker.ask()) is not None:
            visible = [broker.settled[number] for number in sorted(broker.settled)]
            record, seconds = settle(problem, variant, asked, broker.taken[asked.number], visible)
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
        ue=found.ue, ut=found.ut,
    )  # fmt: skip
    seconds = found.train_s + found.evaluate_s
    if found.state != "complete":
        return record, seconds
    scores, spent = attacked(problem, variant, found, visible)
    families = {attack.label: attack.family for attack in problem.job.attacks}
    rob = robustness({score.attack: score.value for score in scores if not score.skipped}, families)
    record = record.model_copy(update={"rob": rob.value, "rob_is_bound": rob.is_bound, "attacks": scores})
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
        done.append(_score(attack, found.attacks[attack.label]))
        waiting.remove(attack)
    spent = sum(found.attack_s[score.attack] for score in done)
    return [*done, *(_score(attack, None, skipped=True) for attack in waiting)], spent


def _score(attack: AttackSettings, value: float | None, *, skipped: bool = False) -> AttackScore:
    return AttackScore(attack=attack.label, family=attack.family, value=value, skipped=skipped)


# --- many runs ------------------------------------------------------------------------------------------------------


def run_all(problem: Problem, options: argparse.Namespace) -> None:
    """Append a line to the file for each run that is not in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    there = set(read_runs(options.rows))
    for variant in options.variants:
        for sampler in options.samplers:
            for seed in range(1, options.seeds + 1):
                if (sampler, variant, seed) in there:
                    continue
                steps = replay(problem, sampler, VARIANTS[variant], seed=seed, trials=options.trials)
                volumes = hypervolume_curve([point or REFERENCE_POINT for _, point in steps], REFERENCE_POINT)
                row = {"sampler": sampler, "variant": variant, "seed": seed}
                row["seconds"] = [round(clock, 2) for clock, _ in steps]
                row["volumes"] = [round(volume, 5) for volume in volumes]
                with options.rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds and hypervolume after each trial of one run."""

    seconds: list[float]
    volumes: list[float]

    def at(self, seconds: float) -> float:
        """Hypervolume at a time."""
        return max((v for s, v in zip(self.seconds, self.volumes, strict=True) if s <= seconds), default=0.0)


Runs = Mapping[tuple[str, str, int], Run]
"""By sampler, variant and seed."""


def read_runs(rows: Path) -> Runs:
    lines = [json.loads(text) for text in rows.read_text().splitlines()] if rows.exists() else []
    return {(row["sampler"], row["variant"], row["seed"]): Run(row["seconds"], row["volumes"]) for row in lines}


def print_summary(runs: Runs, most: float) -> None:
    """Medians over seeds, hypervolume as a share of that of all recorded trials.

    `s to random` is when the median reaches the median that random search without skipped attacks ends with; `share` is
    that over the time random search takes to its end.
    """
    base = [run for (sampler, variant, _), run in runs.items() if (sampler, variant) == ("random", "whole")]
    goal, end = statistics.median(run.volumes[-1] for run in base), statistics.median(run.seconds[-1] for run in base)
    print(f"all recorded trials: {most:.4f}; random search ends at {goal / most:.3f} of it after {end:.0f} s\n")
    print(
        "| sampler | variant | seeds | ends at | lowest | highest | s in all | trials to random | s to random | share |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for sampler, variant in dict.fromkeys((sampler, variant) for sampler, variant, _ in runs):
        own = [run for (name, kind, _), run in runs.items() if (name, kind) == (sampler, variant)]
        ends = [run.volumes[-1] / most for run in own]
        trials, seconds = _reaches(own, goal), _seconds_to(own, goal)
        reached = "never" if seconds is None else f"{seconds:.0f}"
        share = "" if seconds is None else f"{seconds / end:.2f}"
        cells = [sampler, variant, len(own), f"{statistics.median(ends):.3f}", f"{min(ends):.3f}", f"{max(ends):.3f}"]
        cells += [f"{statistics.median(run.seconds[-1] for run in own):.0f}", trials or "never", reached, share]
        print(f"| {' | '.join(str(cell) for cell in cells)} |")


def _reaches(own: Sequence[Run], goal: float) -> int | None:
    """After how many trials the median is at the goal."""
    shortest = min(len(run.volumes) for run in own)
    medians = [statistics.median(run.volumes[place] for run in own) for place in range(shortest)]
    return next((count for count, median in enumerate(medians, start=1) if median >= goal), None)


def _seconds_to(own: Sequence[Run], goal: float) -> float | None:
    """When the median is at the goal."""
    moments = sorted(second for run in own for second in run.seconds)
    low, high = 0, len(moments)
    while low < high:
        middle = (low + high) // 2
        reached = statistics.median(run.at(moments[middle]) for run in own) >= goal
        low, high = (low, middle) if reached else (middle + 1, high)
    return moments[low] if low < len(moments) else None


def draw(runs: Runs, most: float, out: Path) -> None:
    """Median hypervolume over seconds, as a share of that of all recorded trials: one panel for each variant."""
    from matplotlib.figure import Figure

    variants = list(dict.fromkeys(variant for _, variant, _ in runs))
    figure = Figure(figsize=(4 * len(variants), 3.6), layout="constrained")
    panels: Any = figure.subplots(1, len(variants), sharey=True, squeeze=False)[0]
    for axes, variant in zip(panels, variants, strict=True):
        for sampler in dict.fromkeys(name for name, kind, _ in runs if kind == variant):
            own = [run for (name, kind, _), run in runs.items() if (name, kind) == (sampler, variant)]
            end = statistics.median(run.seconds[-1] for run in own)
            times = [end * place / 200 for place in range(201)]
            medians = [statistics.median(run.at(time) for run in own) / most for time in times]
            axes.plot(times, medians, color=SHADES.get(sampler, "#000000"), lw=1.8, label=sampler)
        axes.set(title=variant, xlabel="CPU seconds", ylim=(0.5, 1))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("hypervolume, share of all recorded")
    panels[-1].legend(loc="lower right", frameon=False)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
