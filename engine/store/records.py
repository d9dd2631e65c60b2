"""What is on disk about a sweep. Every view (progress, status, report, MLflow) reads these and recomputes nothing.

<storage>/<sweep>/spec.lock.yaml     the resolved spec, versions, digests of data and models
<storage>/<sweep>/study.journal      Optuna's own journal
<storage>/<sweep>/events.jsonl       one `Event` a line, append-only
<storage>/<sweep>/trials/<n>.json    a `TrialRecord`, written when the trial is settled
<storage>/<sweep>/controls.json      a `Controls`
<storage>/<sweep>/progress.json      a `Front` as of the last settled trial
<storage>/<sweep>/report/            written by `unlearn-sweep report`
<storage>/store/stages/<key>/        a finished stage: stage.json (`StageResult`), rows.parquet where it has rows
<storage>/store/models/<key>/        weights (safetensors) and tokenizer
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.evaluators import scores
from unlearn_sweep.evaluators.scores import AttackPoint, Normalised, Objective, Robustness

__all__ = [
    "AttackPoint",
    "Normalised",
    "Objective",
    "Robustness",
]

TrialState = Literal["running", "complete", "collapsed", "failed", "duplicate"]


class Record(BaseModel):
    """Base of everything written to disk: strict about unknown keys, immutable in memory."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")


class Event(Record):
    """One line of events.jsonl. `seconds` is set where the event ends something.

    Events: sweep_started, sweep_resumed, sweep_finished, sweep_stopped, trial_asked, trial_started, trial_settled,
    stage_started, stage_finished, stage_reused, stage_failed, attack_skipped, finalist_started, finalist_settled, note.
    Those of a finalist's stages name its seed in `data`. `stage_lost`, `trial_lost`, `finalist_lost`: the process or
    machine that was at it is gone, and it is begun again; `seconds` went with it.
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
    """One aggregated number with its uncertainty, or the reason why there is none."""

    metric: str
    split: str
    half: Literal["search", "report", "all"] = "all"
    value: float | None
    standard_error: float | None = None
    n: int = 0
    reason: str | None = None


class AttackScore(scores.AttackScore):
    """One attack on one trial. `value` is what Rob takes (curve attacks: mean over strengths), on the search half.

    `report_value` is the same on the report half, with its own standard error and reason. `skipped`: not run, since
    the trial could no longer reach the front.
    """

    attack: str
    family: str
    report_value: float | None = None
    report_standard_error: float | None = None
    report_reason: str | None = None
    skipped: bool = False


class EvaluationScores(Record):
    """UE and UT of a trial before any attack, on the search half and (`report_*`) on the other.

    The details hold standard errors, rows, dropped rows and the reason of a missing value; those of the report half
    leave the parts out.
    """

    ue: float | None = None
    ut: float | None = None
    report_ue: float | None = None
    report_ut: float | None = None
    ue_detail: Objective | None = None
    ut_detail: Objective | None = None
    report_ue_detail: Objective | None = None
    report_ut_detail: Objective | None = None


class RobustnessScores(Record):
    """Rob of a trial on both halves. The details hold each family's mean, attacks without a score, and the reason."""

    rob: float | None = None
    rob_is_bound: bool = False
    rob_reason: str | None = None
    report_rob: float | None = None
    rob_detail: Robustness | None = None
    report_rob_detail: Robustness | None = None


class Sealed(Record):
    """A record with a digest of its own content, so that a changed byte is seen. None: written without one."""

    seal: str | None = None

    def sealed(self) -> Self:
        """The same record with the seal of what it holds now."""
        return self.model_copy(update={"seal": self._content()})

    def is_intact(self) -> bool:
        """Whether the record is what was sealed; True where it never was."""
        return self.seal is None or self.seal == self._content()

    def _content(self) -> str:
        """Digest of the content that differs from the defaults, so that a field added later breaks no seal."""
        content = json.loads(self.model_dump_json(exclude={"seal"}, exclude_defaults=True))
        return hashlib.sha256(json.dumps(_without_null(content), sort_keys=True).encode()).hexdigest()[:16]


def _without_null(value: Any) -> Any:
    """Nested JSON without null members: a number that is not finite is one on disk, and a default in memory."""
    if isinstance(value, dict):
        return {name: _without_null(item) for name, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


class FileMark(Record):
    """Size and SHA-256 (hex) of a file as it was written. Without the second, the size alone is compared."""

    bytes: int
    sha256: str | None = None


class StageResult(Sealed):
    """stage.json: what a finished stage was, over what, how long it took, and its numbers.

    `files` marks what lies in the stage's own folder, `weights` what lies in its model folder, by relative path. Both
    are empty in a stage of a version that did not mark files: such files are used unchecked.
    """

    stage: str
    key: str
    inputs: dict[str, Any]
    seconds: float
    finished: float
    host: str
    data: dict[str, Any] = Field(default_factory=dict)
    has_rows: bool = False
    files: dict[str, FileMark] = Field(default_factory=dict)
    weights: dict[str, FileMark] = Field(default_factory=dict)


class SeedScore(Record):
    """A front member trained again with another seed and attacked in full. Objectives as in `TrialRecord`.

    `missing` holds the reason of each objective without a value.
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


class TrialRecord(RobustnessScores, EvaluationScores, Sealed):
    """trials/<n>.json: all a view needs of a trial. Objectives are on the search half, `report_*` on the other.

    `rob_reason`: why a fully attacked trial has no Rob. `unmoved`: why the trial is one that did not move the model.
    `infeasible`: which constraints of the search the trial does not meet; None where it meets all. `seeds` are the runs
    of a finalist beside the trial's own. `judging`, by stage, is what judges were asked. `code` is the version of the
    code that made the trial, one of `spec.lock.yaml`; None where the trial never ran.
    """

    number: int
    key: str
    method: str
    params: dict[str, Any]
    seed: int
    state: TrialState
    infeasible: str | None = None
    unmoved: str | None = None
    attacks: list[AttackScore] = Field(default_factory=list)
    stage_keys: dict[str, str] = Field(default_factory=dict)
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    reused_stages: list[str] = Field(default_factory=list)
    judging: dict[str, Any] = Field(default_factory=dict)
    started: float
    finished: float
    reason: str | None = None
    failed_stage: str | None = None
    attempts: int = 1
    duplicate_of: int | None = None
    model_path: str | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    seeds: list[SeedScore] = Field(default_factory=list)
    code: str | None = None

    @property
    def missing(self) -> dict[str, str]:
        """Why an objective has no value, by the name of its field; only those that have a reason of their own."""
        return missing_reasons(self)


def code_versions(records: Iterable[TrialRecord]) -> dict[str, int]:
    """How many trials each version of the code made, in order of the trials. Trials that never ran have none."""
    made = [version for record in records if (version := record.code) is not None]
    return {version: made.count(version) for version in dict.fromkeys(made)}


def missing_reasons(trial: RobustnessScores | EvaluationScores) -> dict[str, str]:
    """The reason of each objective of `trial` that has no value, by the name of its field."""
    names = [name for name in type(trial).model_fields if f"{name}_detail" in type(trial).model_fields]
    details = {name: getattr(trial, f"{name}_detail") for name in names if getattr(trial, name) is None}
    return {name: detail.reason for name, detail in details.items() if detail is not None and detail.reason}


class Control(Record):
    """Original or gold model: its measurements, its objectives by the same formula, and the same attacks on it.

    `ue_reason` and `ut_reason` say why an objective has no value.
    """

    model: Literal["original", "gold"]
    model_path: str
    measured: list[Measured]
    ue: float | None
    ut: float | None
    ue_reason: str | None = None
    ut_reason: str | None = None
    attacks: dict[str, list[AttackPoint]] = Field(default_factory=dict)


class Controls(Record):
    """controls.json."""

    original: Control
    gold: Control


class Front(Record):
    """progress.json: non-dominated trials and hypervolume after each settled trial."""

    reference_point: tuple[float, float, float]
    front: list[str]
    hypervolume: float
    hypervolume_curve: list[tuple[int, float]]
    trials_settled: int
    trials_wanted: int
