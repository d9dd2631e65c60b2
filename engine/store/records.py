"""Records of a sweep on disk. Every view (progress, status, report, MLflow) reads them and recomputes nothing.

<storage>/<sweep>/spec.lock.yaml     the resolved spec, versions, digests of data and models
<storage>/<sweep>/study.journal      Optuna's own journal
<storage>/<sweep>/events.jsonl       one `Event` per line, append-only
<storage>/<sweep>/trials/<n>.json    a `TrialRecord`, written when the trial is settled
<storage>/<sweep>/controls.json      a `Controls`
<storage>/<sweep>/progress.json      a `Front` as of the last settled trial
<storage>/<sweep>/report/            written by `unlearn-sweep report`
<storage>/store/stages/<key>/        a finished stage: stage.json (`StageResult`) and, if it has rows, rows.parquet
<storage>/store/models/<key>/        weights (safetensors) and tokenizer
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, JsonValue, field_serializer, field_validator

from unlearn_sweep.engine.search_space import Scalar
from unlearn_sweep.engine.store.outcomes import JudgeCost, PeakMemory, TrainOutcome
from unlearn_sweep.engine.store.sealed import FileMark, Record, Sealed
from unlearn_sweep.evaluators import scores
from unlearn_sweep.evaluators.scores import AttackPoint, Normalised, Objective, Robustness

__all__ = [
    "AttackPoint",
    "Normalised",
    "Objective",
    "Robustness",
]

Outcome = TypeVar("Outcome", bound=BaseModel)
TrialState = Literal["running", "complete", "collapsed", "stopped", "failed", "duplicate"]


class Event(Record):
    """One line of events.jsonl. `seconds` is set on events that end a stage, trial or finalist.

    Events: sweep_started, sweep_resumed, sweep_finished, sweep_stopped, trial_asked, trial_started, trial_settled,
    stage_started, stage_finished, stage_reused, stage_failed, stage_stopped, attack_skipped, finalist_started,
    finalist_settled, note.
    For a stage of a finalist, `data` contains the seed. `stage_lost`, `trial_lost` and `finalist_lost` mean that the
    process or machine was lost and the work starts again; `seconds` is the time that was lost.
    """

    time: float
    event: str
    trial: int | None = None
    stage: str | None = None
    stage_key: str | None = None
    seconds: float | None = None
    attempt: int | None = None
    reason: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Measured(Record):
    """One aggregated number with its uncertainty, or the reason why it has no value."""

    metric: str
    split: str
    half: Literal["search", "report", "all"] = "all"
    value: float | None
    standard_error: float | None = None
    n: int = 0
    reason: str | None = None


class AttackScore(scores.AttackScore):
    """One attack on one trial.

    `value` is the attack's contribution to Rob on the search half (for attacks with a curve, the mean over strengths).
    `report_value` is the same on the report half, with its own standard error and reason, and `report_left` is what is
    still forgotten there at each point of `curve`, in its order (empty in records of older versions). `skipped` means
    that the attack was not run, because the trial could no longer reach the front. `searched` is the label of the
    attacker of which this is one setting, and `setting` has the searched values of it; None and empty for an attack
    that is not searched (`setting` is empty in records of older versions too).
    """

    attack: str
    family: str
    searched: str | None = None
    setting: dict[str, Any] = Field(default_factory=dict)
    report_value: float | None = None
    report_standard_error: float | None = None
    report_reason: str | None = None
    report_left: tuple[float | None, ...] = ()
    skipped: bool = False


class EvaluationScores(Record):
    """UE and UT of a trial before any attack, on the search half and (`report_*`) on the report half.

    The `*_detail` fields contain standard errors, rows, dropped rows and the reason of a missing value. The details of
    the report half have no parts.
    """

    ue: float | None = None
    ut: float | None = None
    report_ue: float | None = None
    report_ut: float | None = None
    ue_detail: Objective | None = None
    ut_detail: Objective | None = None
    report_ue_detail: Objective | None = None
    report_ut_detail: Objective | None = None


class RequestScore(Record):
    """UE and UT of a trial on its way, when the first `after` requests were forgotten; UE of their rows alone.

    `reason`: why UE or UT has no value; None if both have one.
    """

    after: int
    ue: float | None = None
    ut: float | None = None
    ue_standard_error: float | None = None
    ut_standard_error: float | None = None
    report_ue: float | None = None
    report_ut: float | None = None
    reason: str | None = None


class RobustnessScores(Record):
    """Rob of a trial on both halves.

    The `*_detail` fields contain each family's mean, the attacks without a score and the reason of a missing value.
    """

    rob: float | None = None
    rob_is_bound: bool = False
    rob_reason: str | None = None
    report_rob: float | None = None
    rob_detail: Robustness | None = None
    report_rob_detail: Robustness | None = None


class StageResult(Sealed):
    """stage.json: name, inputs, duration and numbers of a finished stage.

    `data` is the outcome of the stage's work as plain JSON, so that its seal does not depend on the outcome's defaults.
    `files` maps relative paths in the stage's folder to their marks, `weights` those in its model folder. Both are
    empty if an older version wrote the stage; its files are then used without a check.
    """

    stage: str
    key: str
    inputs: dict[str, JsonValue]
    seconds: float
    finished: float
    host: str
    data: dict[str, JsonValue] = Field(default_factory=dict)
    has_rows: bool = False
    files: dict[str, FileMark] = Field(default_factory=dict)
    weights: dict[str, FileMark] = Field(default_factory=dict)

    def outcome(self, kind: type[Outcome]) -> Outcome:
        """Return the outcome of the stage's work.

        Raises:
            pydantic.ValidationError: another kind of stage, or another version, wrote it.
        """
        return kind.model_validate(self.data)

    @property
    def peak_memory(self) -> PeakMemory | None:
        """Peak memory of a stage that measured or attacked a model; None for other stages and older versions."""
        peak = self.data.get("peak_memory")
        return None if peak is None else PeakMemory.model_validate(peak)


class SeedScore(Record):
    """A front member retrained with another seed and attacked by every attack. Objectives are as in `TrialRecord`.

    `missing` maps each objective without a value to the reason.
    """

    seed: int
    key: str
    state: TrialState
    missing: dict[str, str] = Field(default_factory=dict)
    ue: float | None = None
    ut: float | None = None
    rob: float | None = None
    report_ue: float | None = None
    report_ut: float | None = None
    report_rob: float | None = None
    stage_keys: dict[str, str] = Field(default_factory=dict)
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    started: float
    finished: float
    reason: str | None = None
    failed_stage: str | None = None
    code: str | None = None


class StopDecision(Record):
    """That the front would beat a training's end: after which share of its steps, and whether it ran on anyway."""

    share: float
    ran_anyway: bool


class TrialRecord(RobustnessScores, EvaluationScores, Sealed):
    """trials/<n>.json: everything a view needs from a trial.

    Objectives are on the search half, `report_*` on the report half.

    Attributes:
        rob_reason: Why Rob has no value although all attacks ran.
        unmoved: Why the trial counts as one that did not change the model; None if it did change it, or if this
            is unknown.
        infeasible: The constraints of the search that the trial violates; None if it violates none.
        seeds: Further runs of a finalist with other seeds; the trial's own run is not included.
        requests: Scores after the requests before the last; the trial's own objectives are those after the last.
        judging: Cost of external judges, by stage and judge.
        training: Outcome of the training; None if the trial did not train or ended before.
        stopping: Set in a stopped trial, and in one that ran to its end to measure what stopping costs.
        code: Version of the code that ran the trial, as listed in `spec.lock.yaml`; None if the trial never ran.
        draws: Bootstrap draws (`store.draws`) of "ue", "ut" and "attack:<label>" on the search half, and of the same
            names after "report_" on the report half. One place is the same drawn facts in every trial of a sweep.
            Empty if an older version wrote the record.
    """

    number: int
    key: str
    method: str
    params: dict[str, Scalar]
    seed: int
    state: TrialState
    infeasible: str | None = None
    unmoved: str | None = None
    attacks: list[AttackScore] = Field(default_factory=list)
    stage_keys: dict[str, str] = Field(default_factory=dict)
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    reused_stages: list[str] = Field(default_factory=list)
    judging: dict[str, dict[str, JudgeCost]] = Field(default_factory=dict)
    started: float
    finished: float
    reason: str | None = None
    failed_stage: str | None = None
    attempts: int = 1
    duplicate_of: int | None = None
    model_path: str | None = None
    training: TrainOutcome | None = None
    stopping: StopDecision | None = None
    seeds: list[SeedScore] = Field(default_factory=list)
    requests: list[RequestScore] = Field(default_factory=list)
    code: str | None = None
    draws: dict[str, str] = Field(default_factory=dict)

    @field_validator("training", mode="before")
    @classmethod
    def _none_if_empty(cls, training: object) -> object:
        """Read the empty mapping that older versions wrote for a trial without a training."""
        return None if training == {} else training

    @field_serializer("training", "judging")
    def _as_written(self, value: TrainOutcome | Mapping[str, Mapping[str, JudgeCost]] | None) -> object:
        """Write the fields that were set, so that the seal of a record does not depend on later defaults."""
        if value is None or isinstance(value, TrainOutcome):
            return None if value is None else value.model_dump(mode="json", exclude_unset=True)
        return {
            stage: {judge: cost.model_dump(mode="json", exclude_unset=True) for judge, cost in costs.items()}
            for stage, costs in value.items()
        }

    @property
    def missing(self) -> dict[str, str]:
        """Reason of each objective without a value, by field name; only objectives that have a reason of their own."""
        return missing_reasons(self)


UNRECORDED = "unrecorded"
"""Stands for the code version of a trial that ran before records named their code."""


def front_point(
    objectives: tuple[float | None, float | None, float | None],
    *,
    state: str,
    infeasible: str | None,
    rob_is_bound: bool,
    attacked: bool,
) -> tuple[float, float, float] | None:
    """Return (UE, UT, Rob) of a trial that can be on the front, else None.

    It is complete and feasible, and its Rob is measured. In a sweep without attacks (`attacked` is false) Rob is always
    None. The points then use Rob 1, so that the front is that of UE and UT.
    """
    ue, ut, rob = objectives
    if rob is None and not attacked:
        rob = 1.0
    if state != "complete" or infeasible is not None or rob_is_bound or ue is None or ut is None or rob is None:
        return None
    return ue, ut, rob


def code_versions(records: Iterable[TrialRecord]) -> dict[str, int]:
    """Count the trials per code version, in order of first appearance. Skip trials that never ran."""
    made = [version for record in records if (version := _code_of(record)) is not None]
    return {version: made.count(version) for version in dict.fromkeys(made)}


def _code_of(record: TrialRecord) -> str | None:
    """Return the code version of a trial, `UNRECORDED` if the trial ran without one, None if it never ran."""
    ran = record.state not in ("failed", "duplicate")
    return record.code or (UNRECORDED if ran else None)


def worst_settings(rob: Robustness | None, attacks: Iterable[AttackScore]) -> dict[str, AttackScore]:
    """Return the setting of each searched attacker that left least forgotten, by the attacker's label.

    An attacker none of whose settings is finished with a score is left out.
    """
    worst = {} if rob is None else rob.worst
    scores = {score.attack: score for score in attacks if not score.skipped}
    return {attacker: scores[label] for attacker, label in sorted(worst.items()) if label in scores}


def missing_reasons(trial: RobustnessScores | EvaluationScores) -> dict[str, str]:
    """Return the reason of each objective of `trial` without a value, by field name."""
    names = [name for name in type(trial).model_fields if f"{name}_detail" in type(trial).model_fields]
    details = {name: getattr(trial, f"{name}_detail") for name in names if getattr(trial, name) is None}
    return {name: detail.reason for name, detail in details.items() if detail is not None and detail.reason}


class Control(Record):
    """Measurements of the original or gold model: objectives by the same formula as a trial's, and the same attacks.

    `ue_reason` and `ut_reason` are the reasons if an objective has no value. `stage_keys` maps "evaluate" and
    "attack:<label>" to keys of the store; empty if there is no such model or an older version wrote the record.
    """

    model: Literal["original", "gold"]
    model_path: str
    measured: list[Measured]
    ue: float | None
    ut: float | None
    ue_reason: str | None = None
    ut_reason: str | None = None
    attacks: dict[str, list[AttackPoint]] = Field(default_factory=dict)
    stage_keys: dict[str, str] = Field(default_factory=dict)


class Controls(Record):
    """controls.json: measurements of the two reference models.

    `forget_facts` is the number of facts that the forget split is judged by, in both halves together; None if an older
    version wrote the record.
    """

    original: Control
    gold: Control
    forget_facts: int | None = None


class Front(Record):
    """progress.json: keys of the non-dominated trials, and the hypervolume after each settled trial."""

    reference_point: tuple[float, float, float]
    front: list[str]
    hypervolume: float
    hypervolume_curve: list[tuple[int, float]]
    trials_settled: int
    trials_wanted: int
