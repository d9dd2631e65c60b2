"""The table of a recorded sweep (bench/search_record.csv.gz), read. See search_replay.py."""

from __future__ import annotations

import csv
import gzip
import io
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from search_stopping import Rung

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.samplers.unit_interval import value_at
from unlearn_sweep.engine.search_settings import Configuration, LearntTrial, ObjectiveName
from unlearn_sweep.engine.search_space import MethodSpace, Scalar, holds, whole_run
from unlearn_sweep.engine.search_space import share_of as share_of_run
from unlearn_sweep.engine.study.front import REFERENCE_POINT
from unlearn_sweep.evaluators.front import hypervolume
from unlearn_sweep.evaluators.objectives.robustness import robustness
from unlearn_sweep.methods.catalog import defaults

HERE = Path(__file__).parent
FILE, TABLE = HERE / "search_record.yaml", HERE / "search_record.csv.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One training of the table. `attacks` and `attack_s` are by label, `errors` (standard) by "ue", "ut" and label.

    `train_s`, `evaluate_s` and `export_s` (writing the weights on the way) are CPU seconds. `on_the_way` are the trials
    of its weights at shares of its steps, by share; they train nothing.
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
    export_s: float = 0.0
    on_the_way: Mapping[float, Recorded] = field(default_factory=dict)

    @property
    def probing_s(self) -> float:
        """CPU seconds of all probes."""
        return self.rungs[-1].seconds - 0.75 * self.train_s if len(self.rungs) == 3 else 0.0


@dataclass(frozen=True, slots=True)
class Problem:
    """The recorded sweep: its job, and its trainings by method."""

    job: SweepJob
    trials: dict[str, list[Recorded]]

    @property
    def spaces(self) -> dict[str, MethodSpace]:
        """The searched spaces, where trainings are measured at their ends alone."""
        return {space.method: replace(space, params=whole_run(space.params)) for space in self.job.spaces}

    @property
    def spaces_with_shares(self) -> dict[str, MethodSpace]:
        return {space.method: space for space in self.job.spaces}

    @property
    def costs(self) -> dict[str, float]:
        """Mean seconds of each attack."""
        seconds: dict[str, list[float]] = defaultdict(list)
        for trial in (trial for trials in self.trials.values() for trial in trials):
            for label, spent in trial.attack_s.items():
                seconds[label].append(spent)
        return {label: statistics.fmean(found) for label, found in seconds.items()}


def read_problem(table: Path, *, without: Sequence[str] = ()) -> Problem:
    """Read the table, less some methods. A training with a stage of unknown duration is left out."""
    from unlearn_sweep.sweeps.file.spec import load_spec
    from unlearn_sweep.sweeps.resolve import Overrides, resolve

    job = resolve(load_spec(FILE), Overrides(storage=tempfile.gettempdir()))
    trials: dict[str, list[Recorded]] = defaultdict(list)
    on_the_way: dict[str, dict[float, Recorded]] = defaultdict(dict)
    for row in csv.DictReader(io.StringIO(gzip.decompress(table.read_bytes()).decode())):
        found, share = recorded(row, [attack.label for attack in job.attacks]), share_of_run(json.loads(row["params"]))
        if found is None or found.method in without:
            continue
        if share < 1:
            on_the_way[training_of(found)][share] = found
        else:
            trials[found.method].append(found)
    whole = {
        name: [replace(trial, on_the_way=on_the_way[training_of(trial)]) for trial in own]
        for name, own in trials.items()
    }
    spaces = [space for space in job.spaces if space.method in trials]
    return Problem(job.model_copy(update={"spaces": spaces}), whole)


def training_of(trial: Recorded) -> str:
    """Identify the training of a trial."""
    return json.dumps([trial.method, trial.params], sort_keys=True)


def recorded(row: Mapping[str, str], labels: Sequence[str]) -> Recorded | None:
    number = {
        name: float(text) for name, text in row.items() if text and name.endswith(("_s", "_value", "_se", "ue", "ut"))
    }
    ran = [label for label in labels if row["state"] == "complete"]
    params = json.loads(row["params"])
    if share_of_run(params) < 1:
        number["train_s"] = 0.0
    if "train_s" not in number or any(f"{label}_s" not in number for label in ran):
        return None
    return Recorded(
        number=int(row["trial"]),
        method=row["method"],
        params=whole_run(params),
        state=row["state"],
        ue=number.get("ue"),
        ut=number.get("ut"),
        attacks={label: number.get(f"{label}_value") for label in ran},
        attack_s={label: number[f"{label}_s"] for label in ran},
        errors={name: number[f"{name}_se"] for name in ("ue", "ut", *ran) if f"{name}_se" in number},
        train_s=number["train_s"],
        evaluate_s=number.get("evaluate_s", 0.0),
        rungs=rungs_of(row, number["train_s"]),
        export_s=number.get("export_s", 0.0),
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


def measured_halfway(problem: Problem) -> Problem:
    """Return the trainings whose weights were measured on the way too."""
    trials = {method: [trial for trial in own if trial.on_the_way] for method, own in problem.trials.items()}
    return Problem(problem.job, trials)


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


def published_settings(problem: Problem) -> list[Configuration]:
    """Return the published default of each method, its parameters outside their range at the middle of it."""
    found = []
    for space in problem.spaces.values():
        known = defaults(space.method)
        params = {
            name: known[name] if holds(dimension, known[name]) else value_at(dimension, 0.5)
            for name, dimension in space.searched().items()
        }
        found.append(Configuration(method=space.method, params=params))
    return found


def without_errors(problem: Problem) -> Problem:
    """The same sweep, recorded without standard errors."""
    trials = {name: [replace(trial, errors={}) for trial in own] for name, own in problem.trials.items()}
    return Problem(problem.job, trials)


def end_of(problem: Problem, found: Recorded) -> tuple[float, float, float] | None:
    """UE, UT and Rob of a recorded trial with all its attacks; None where the model broke."""
    families = {attack.label: attack.family for attack in problem.job.attacks}
    rob = robustness(found.attacks, families).value if found.state == "complete" else None
    return None if found.ue is None or found.ut is None or rob is None else (found.ue, found.ut, rob)
