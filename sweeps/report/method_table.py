"""What each method reached with the trials it had: best trials, hypervolume, time, and published numbers to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.store.records import Objective, TrialRecord
from unlearn_sweep.engine.study.front import REFERENCE_POINT, point_of
from unlearn_sweep.engine.study.front_noise import Sample
from unlearn_sweep.evaluators.papers import PublishedNumber, published_numbers
from unlearn_sweep.sweeps.report.margins import margin
from unlearn_sweep.sweeps.report.picks import balance, values_of

UTILITY_FLOOR = 0.8
MEASURED_AS = {
    "forget quality (KS p)": ("forget", "forget_quality_p"),
    "model utility": ("utility", "model_utility"),
    "VerbMem forget": ("forget", "verbmem"),
    "KnowMem forget": ("forget", "knowmem"),
    "KnowMem retain": ("retain", "knowmem"),
    "accuracy": ("forget", "choice_accuracy"),
}
UNITS = {"share": 1.0, "p-value": 1.0, "percent": 100.0}


class _View(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")


class EqualBudget(_View):
    """The best trial of a method among as many trials as every method has: its first by number.

    Attributes:
        trials: Number of trials compared, the least that a method has.
        unmeasured: Trials among them whose Rob is only a bound, since attacks were skipped. They cannot be the best.
        trial: The trial with the highest balance, on the search half; None if none has all its objectives.
        balance: Its balance.
        probability: Share of the draws in which it has a higher balance than the best trials of the other methods, on
            both halves (`FrontNoise`); None if that is not known.
    """

    trials: int
    unmeasured: int
    trial: int | None
    balance: float | None
    probability: float | None


class MethodLine(_View):
    """One method. Objectives are on the search half, among complete and feasible trials whose Rob is not a bound.

    Attributes:
        trials: Settled trials, without duplicates.
        complete: Trials among them that are complete.
        on_front: Trials on the front of the sweep.
        balance: Highest harmonic mean of the objectives, and `balance_trial`, which has it; None without a whole trial.
        rob: Highest Rob among trials with UT of at least 0.8, and `rob_trial`; None if no trial keeps that UT.
        hypervolume: Hypervolume of the method's own trials.
        seconds: Time in stages of its trials that were not reused.
        equal: Its best trial at the same number of trials for every method.
    """

    method: str
    trials: int
    complete: int
    on_front: int
    balance: float | None
    balance_trial: int | None
    rob: float | None
    rob_trial: int | None
    hypervolume: float
    seconds: float
    equal: EqualBudget


class PublishedLine(_View):
    """A published number for a method of the sweep on its benchmark, and the value here of the best-balanced trial.

    `here` is in the unit of the published number; None if the sweep does not measure that metric.
    """

    method: str
    trial: int | None
    here: float | None
    published: PublishedNumber


def method_lines(
    trials: Sequence[TrialRecord], front: Sequence[str], objectives: Sequence[str], sample: Sample | None = None
) -> list[MethodLine]:
    """Return one line for each method, those with the highest hypervolume first. `sample`: `sample_of(trials, ...)`."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.state != "duplicate":
            groups.setdefault(trial.method, []).append(trial)
    equal = equal_budgets(groups, objectives, sample)
    lines = [_line(method, own, set(front), objectives, equal[method]) for method, own in groups.items()]
    return sorted(lines, key=lambda line: (-line.hypervolume, line.method))


def equal_budgets(
    groups: Mapping[str, Sequence[TrialRecord]], objectives: Sequence[str], sample: Sample | None
) -> dict[str, EqualBudget]:
    """Return each method's best trial at the least number of trials that a method has."""
    budget = min((len(own) for own in groups.values()), default=0)
    first = {
        method: sorted(own, key=lambda trial: trial.number)[:budget] for method, own in groups.items()
    }  # the order in which they were proposed
    best = {method: _balanced(own, objectives) for method, own in first.items()}
    numbers = [trial.number for trial in best.values() if trial is not None]
    return {
        method: EqualBudget(
            trials=budget,
            unmeasured=sum(other.state == "complete" and other.rob_is_bound for other in first[method]),
            trial=None if trial is None else trial.number,
            balance=None if trial is None else balance(values_of(trial, objectives)),
            probability=None
            if trial is None or sample is None
            else margin(sample, trial.number, numbers, "balance").probability,
        )
        for method, trial in best.items()
    }


def _balanced(trials: Sequence[TrialRecord], objectives: Sequence[str]) -> TrialRecord | None:
    """Return the trial with the highest balance, the first of equals; None if none can be on a front."""
    whole = [trial for trial in trials if point_of(trial) is not None]
    return max(whole, key=lambda trial: (balance(values_of(trial, objectives)), -trial.number), default=None)


def _line(
    method: str, trials: Sequence[TrialRecord], front: set[str], objectives: Sequence[str], equal: EqualBudget
) -> MethodLine:
    from unlearn_sweep.evaluators.front import hypervolume

    placed = [(trial, point) for trial in trials if (point := point_of(trial)) is not None]
    whole = [trial for trial, _ in placed]
    balanced = _balanced(whole, objectives)
    useful = [trial for trial in whole if trial.ut is not None and trial.ut >= UTILITY_FLOOR and trial.rob is not None]
    robust = max(useful, key=lambda trial: (trial.rob or 0.0, -trial.number), default=None)
    return MethodLine(
        method=method,
        trials=len(trials),
        complete=sum(trial.state == "complete" for trial in trials),
        on_front=sum(trial.key in front for trial in trials),
        balance=None if balanced is None else balance(values_of(balanced, objectives)),
        balance_trial=None if balanced is None else balanced.number,
        rob=None if robust is None else robust.rob,
        rob_trial=None if robust is None else robust.number,
        hypervolume=float(hypervolume([point for _, point in placed], REFERENCE_POINT)),
        seconds=sum(_computed(trial) for trial in trials),
        equal=equal,
    )


def _computed(trial: TrialRecord) -> float:
    return sum(seconds for stage, seconds in trial.stage_seconds.items() if stage not in trial.reused_stages)


def published_lines(
    lines: Sequence[MethodLine], trials: Sequence[TrialRecord], benchmark: str | None, params: Mapping[str, Any]
) -> list[PublishedLine]:
    """Return the published numbers of the same benchmark and methods, in the order of `lines`."""
    name = published_name(benchmark, params)
    if name is None:
        return []
    numbers = [number for number in published_numbers(benchmark=name) if number.benchmark == name]
    by_number = {trial.number: trial for trial in trials}
    found = []
    for line in lines:
        trial = by_number[line.balance_trial] if line.balance_trial is not None else None
        for number in numbers:
            if _plain(number.method) == _plain(line.method):
                here = None if trial is None else _value_here(trial, number)
                found.append(PublishedLine(method=line.method, trial=line.balance_trial, here=here, published=number))
    return found


def published_name(benchmark: str | None, params: Mapping[str, Any]) -> str | None:
    """Return the name of a benchmark with its options in `papers.csv`; None if papers do not use it."""
    if benchmark == "tofu":
        return f"TOFU {params.get('forget')}"
    if benchmark in ("muse", "wmdp"):
        part = str(params.get("corpus" if benchmark == "muse" else "topic"))
        return f"{benchmark.upper()}-{part.capitalize()}"
    return benchmark.upper() if benchmark in ("rwku", "lkf", "lume") else None


def _value_here(trial: TrialRecord, number: PublishedNumber) -> float | None:
    split, metric = MEASURED_AS.get(number.metric, (None, None))
    details: list[Objective | None] = [trial.ue_detail, trial.ut_detail]
    for detail in details:
        for part in detail.parts if detail is not None else ():
            if (part.split, part.metric) == (split, metric) and part.value is not None and number.unit in UNITS:
                return part.value * UNITS[number.unit]
    return None


def _plain(method: str) -> str:
    return method.lower().replace("_", "").replace("-", "")
