"""The report as data: printed by `report DIR --json` and rendered as page, table and pictures.

Every number comes from the sweep's records. The one exception is the front: if the engine has not written it yet, it is
computed from the finished trials, and `front_source` records this.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.search_settings import ObjectiveName
from unlearn_sweep.engine.store.records import (
    AttackScore,
    Controls,
    EvaluationScores,
    Objective,
    Robustness,
    RobustnessScores,
    SeedScore,
    StopDecision,
    TrialRecord,
    TrialState,
    code_versions,
)
from unlearn_sweep.engine.store.starts import Start
from unlearn_sweep.engine.study.front_noise import FrontNoise, front_noise, sample_of
from unlearn_sweep.engine.study.importance import Importance, importances
from unlearn_sweep.engine.study.seed_summary import SeedSummary, seed_summary
from unlearn_sweep.engine.study.transfer import Transfer, transfers
from unlearn_sweep.engine.tracking.sink import noted_page
from unlearn_sweep.sweeps.report.accounting import TimeAccount, time_account
from unlearn_sweep.sweeps.report.attacker_budget import BudgetCurve, budget_curves
from unlearn_sweep.sweeps.report.cautions import cautions
from unlearn_sweep.sweeps.report.estimate import slots_of
from unlearn_sweep.sweeps.report.judging import JudgingCost, judging_costs
from unlearn_sweep.sweeps.report.method_table import MethodLine, PublishedLine, method_lines, published_lines
from unlearn_sweep.sweeps.report.picks import Pick, pick_trials, with_margins
from unlearn_sweep.sweeps.report.prompt_finding import PromptFinding, prompt_finding
from unlearn_sweep.sweeps.report.provenance import Prices, Provenance, provenance
from unlearn_sweep.sweeps.report.records import SweepData, SweepState
from unlearn_sweep.sweeps.report.requests import AfterRequest, after_requests
from unlearn_sweep.sweeps.report.savings import Savings, savings
from unlearn_sweep.sweeps.report.stopping import Stopping, stopping_of
from unlearn_sweep.sweeps.report.timeline import OpenTrial, Timeline
from unlearn_sweep.sweeps.report.training_curve import TrainingCurve, training_curve
from unlearn_sweep.sweeps.report.uncertainty import Half, alike, chosen_half, standard_errors

Reasoned = TypeVar("Reasoned", AttackScore, Objective, Robustness, SeedScore)
DETAILS = tuple(name for name in TrialRecord.model_fields if name.endswith("_detail"))
NO_BENCHMARK_FOR_PUBLISHING = "authors"


class View(BaseModel):
    """Base class of the report's records. Reject unknown fields; serialize NaN and infinity as null."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")


class ReportTrial(RobustnessScores, EvaluationScores, View):
    """One trial. `ue`, `ut` and `rob` use the search half of the rows, `report_*` the half that the search never saw.

    Attributes:
        key: Key of the trial; None only for a running trial whose events contain none.
        infeasible: The constraints that the trial violates, which excludes it from the front; None if it meets all.
        stages_open: Names of the stages that are running now.
        seeds: The runs of a finalist with other seeds.
        over_seeds: Mean and spread over `seeds` and the trial's own run.
        errors: Standard errors by objective (`uncertainty.standard_errors`).
        front_probability: Probability to be on the front (`FrontNoise.probability`); None if it is not known.
        cautions: What a reader must know before trusting the numbers (`cautions.cautions`).
        training: Losses over the steps of its training; None if it has not trained.
        stopping: At which share of its steps its training stopped, or would have stopped although it ran on.
    """

    key: str | None
    number: int
    method: str | None
    params: dict[str, Any]
    seed: int | None
    state: TrialState
    infeasible: str | None = None
    unmoved: str | None = None
    on_front: bool = False
    attacks: list[AttackScore] = Field(default_factory=list)
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    reused_stages: list[str] = Field(default_factory=list)
    judging: dict[str, Any] = Field(default_factory=dict)
    stages_open: list[str] = Field(default_factory=list)
    seconds: float | None = None
    started: float | None = None
    finished: float | None = None
    reason: str | None = None
    failed_stage: str | None = None
    attempts: int = 1
    duplicate_of: int | None = None
    model_path: str | None = None
    code: str | None = None
    seeds: list[SeedScore] = Field(default_factory=list)
    over_seeds: SeedSummary | None = None
    errors: dict[str, float] = Field(default_factory=dict)
    front_probability: float | None = None
    cautions: list[str] = Field(default_factory=list)
    training: TrainingCurve | None = None
    stopping: StopDecision | None = None


_SHARED_FIELDS = tuple(
    name for name in ReportTrial.model_fields if name in TrialRecord.model_fields and name != "training"
)


class StageTime(View):
    """Time spent in all runs of one stage. `failed_seconds` is counted separately, not part of `seconds`."""

    stage: str
    runs: int
    seconds: float
    reused: int
    failed: int
    failed_seconds: float
    preparation: bool


class Report(View):
    """Everything that the report shows.

    Attributes:
        publishable: False for the built-in benchmark.
        front: Keys of the trials on the Pareto front.
        hypervolume: Hypervolume of the front, on the search half of the rows.
        noise: How sure the front is: the probability of each trial to be on it.
        alike: For each recommended trial, the front members that cannot be told apart from it, on the half of
            `compared_on`.
        methods: What each method reached, the highest hypervolume first.
        prompt: How questions were put to models, and what the probe found.
        importance: How much each setting of a method matters for each objective, on the search half.
        transfer: Rank correlation with the sweeps of `learn_from` and `warm_start`, as those were when this one began.
        published: Published numbers of the same benchmark and methods.
        requests: Objectives of all trials after each request to forget; empty for a sweep without requests.
        attackers: What searched attackers leave of front members and of both controls, against their budget.
        stopping: What stopping trainings saved and cost; None for a sweep that stops none.
        tracking: The MLflow setting: "auto", "off" or an address.
        tracking_page: Address of MLflow's page of the sweep; None if the sweep is not in MLflow.
        versions: Package versions at the last start of the sweep.
        provenance: Seed, data, models, code, machine, device hours and cost.
        starts: All starts of the sweep.
        code_versions: Number of trials per version of the code. Trials of different versions are not comparable.
    """

    sweep: str
    directory: str
    benchmark: str | None
    publishable: bool
    state: SweepState
    generated: float
    elapsed_seconds: float
    objectives: list[ObjectiveName]
    trials: list[ReportTrial]
    counts: dict[str, int]
    trials_wanted: int | None
    front: list[str]
    front_source: Literal["progress.json", "trial records"]
    reference_point: tuple[float, float, float]
    hypervolume: float
    hypervolume_curve: list[tuple[int, float]]
    noise: FrontNoise
    picks: list[Pick]
    alike: dict[int, list[int]]
    compared_on: Half
    methods: list[MethodLine]
    importance: list[Importance]
    transfer: list[Transfer]
    published: list[PublishedLine]
    requests: list[AfterRequest]
    attackers: list[BudgetCurve]
    controls: Controls | None
    prompt: PromptFinding | None
    stages: list[StageTime]
    pruning: Savings
    stopping: Stopping | None
    time: TimeAccount
    judging: list[JudgingCost]
    tracking: str
    tracking_page: str | None
    versions: dict[str, str | None]
    provenance: Provenance
    starts: list[Start]
    code_versions: dict[str, int]
    spec_text: str | None
    problems: list[str]


def make_report(data: SweepData, prices: Prices | None = None) -> Report:
    """Build the report of a sweep that was read from disk. Remove this machine's secrets from all free texts.

    `prices` turn device hours into a cost.
    """
    front, cleaner, starts = data.front, Cleaner(), data.snapshot.starts
    members = set(front.front)
    sample = sample_of(data.trials, data.objectives)
    noise = front_noise(data.trials, sample)
    trials = [_settled(trial, members, cleaner, data.controls, noise) for trial in data.trials]
    trials += [_open(trial, cleaner) for trial in data.open_trials]
    on_front = [trial for trial in data.trials if trial.key in members and trial.state != "duplicate"]
    now = time.time()
    picks, half = pick_trials(on_front, data.objectives), chosen_half(on_front, data.objectives)
    picked = {pick.number: next(trial for trial in on_front if trial.number == pick.number) for pick in picks}
    methods = method_lines(data.trials, front.front, data.objectives, sample)
    options = data.spec_value("benchmark", "params") or {}
    judging = judging_costs(data.snapshot.events)
    known = [cost.dollars for cost in judging if cost.dollars is not None]
    dollars = sum(known) if known else None
    alive = data.state == "running"
    elapsed = data.timeline.elapsed_seconds(now, alive=alive)
    in_stages = data.timeline.running_seconds(now) if alive else 0.0
    slots = slots_of(data.timeline, data.spec_value("concurrent_trials"))
    return Report(
        sweep=cleaner.text(data.name),
        directory=str(data.directory),
        benchmark=data.benchmark,
        publishable=data.benchmark != NO_BENCHMARK_FOR_PUBLISHING,
        state=data.state,
        generated=now,
        elapsed_seconds=elapsed,
        objectives=data.objectives,
        trials=trials,
        counts=dict(Counter(trial.state for trial in trials)),
        trials_wanted=data.trials_wanted,
        front=front.front,
        front_source=data.front_source,
        reference_point=front.reference_point,
        hypervolume=front.hypervolume,
        hypervolume_curve=front.hypervolume_curve,
        noise=noise,
        picks=with_margins(picks, sample),
        alike={number: alike(trial, on_front, data.objectives, half) for number, trial in picked.items()},
        compared_on=half,
        methods=[line.model_copy(update={"method": cleaner.text(line.method)}) for line in methods],
        importance=importances(data.trials, data.spaces(), data.objectives),
        transfer=transfers(data.other_sweeps(), data.trials, data.objectives),
        published=published_lines(methods, data.trials, data.benchmark, options),
        requests=after_requests(data.trials, data.spec_value("requests", "after"), members),
        attackers=budget_curves(on_front, data.controls, data.spec_value("attacks") or []),
        controls=data.controls,
        prompt=_cleaned(prompt_finding(data), cleaner),
        stages=stage_times(data.timeline),
        pruning=savings(data.trials, data.timeline),
        stopping=stopping_of(data),
        time=time_account(data.timeline, elapsed=elapsed, slots=slots, running=in_stages),
        judging=judging,
        tracking=cleaner.text(str(data.spec_value("mlflow") or "auto")),
        tracking_page=cleaner.optional(noted_page(data.directory)),
        versions=starts.last.versions if starts.last is not None else {},
        provenance=provenance(data, prices or Prices(), judges=dollars),
        starts=list(starts.all),
        code_versions=code_versions(data.trials),
        spec_text=cleaner.optional(data.snapshot.spec_text),
        problems=[cleaner.text(problem) for problem in data.problems],
    )


def _cleaned(finding: PromptFinding | None, cleaner: Cleaner) -> PromptFinding | None:
    if finding is None:
        return None
    return PromptFinding.model_validate(cleaner.value(finding.model_dump()))


def stage_times(timeline: Timeline) -> list[StageTime]:
    """Return the time that each stage took according to the event log, longest first."""
    times = [
        StageTime(
            stage=stage,
            runs=cost.runs,
            seconds=cost.seconds,
            reused=cost.reused,
            failed=cost.failed,
            failed_seconds=cost.failed_seconds,
            preparation=not in_trial,
        )
        for (stage, in_trial), cost in timeline.costs.items()
    ]
    return sorted(times, key=lambda entry: -(entry.seconds + entry.failed_seconds))


class Cleaner:
    """Removes secrets from free texts: settings, reasons, the sweep file. Caches the result per distinct text."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        if text not in self._known:
            self._known[text] = redact(text)
        return self._known[text]

    def value(self, value: Any) -> Any:
        """Return the nested value with secrets removed from all texts, including mapping keys."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def optional(self, text: str | None) -> str | None:
        """Return the text without secrets; None if `text` is None."""
        return None if text is None else self.text(text)

    def reason(self, record: Reasoned) -> Reasoned:
        """Return the record with secrets removed from its `reason`."""
        clean = self.optional(record.reason)
        return record if clean == record.reason else record.model_copy(update={"reason": clean})


def _settled(
    trial: TrialRecord, members: set[str], cleaner: Cleaner, controls: Controls | None, noise: FrontNoise
) -> ReportTrial:
    same = {name: getattr(trial, name) for name in _SHARED_FIELDS}
    same["params"] = cleaner.value(trial.params)
    same["method"] = cleaner.text(trial.method)
    same["reason"] = cleaner.optional(trial.reason)
    same["attacks"] = [cleaner.reason(attack) for attack in trial.attacks]
    same["seeds"] = [cleaner.reason(seed) for seed in trial.seeds]
    over_seeds = seed_summary(trial.model_copy(update={"seeds": same["seeds"]}))
    for name in DETAILS:
        if same[name] is not None:
            same[name] = cleaner.reason(same[name])
    on_front = trial.key in members and trial.state != "duplicate"
    return ReportTrial(
        **same,
        on_front=on_front,
        over_seeds=over_seeds,
        errors=standard_errors(trial),
        front_probability=noise.probability.get(trial.number),
        cautions=cautions(trial, controls),
        training=training_curve(trial.training),
        seconds=max(0.0, trial.finished - trial.started),
    )


def _open(trial: OpenTrial, cleaner: Cleaner) -> ReportTrial:
    known = cleaner.value(trial.data)
    params, key, seed = known.get("params"), known.get("key"), known.get("seed")
    return ReportTrial(
        key=key if isinstance(key, str) else None,
        number=trial.number,
        method=cleaner.optional(trial.method),
        params=params if isinstance(params, dict) else {},
        seed=seed if isinstance(seed, int) else None,
        state="running",
        stages_open=sorted(trial.stages),
        started=trial.started,
    )
