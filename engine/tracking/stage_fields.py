"""Convert the stages of a trial to the content of their MLflow runs, which are children of the trial's run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unlearn_sweep.engine.store.records import AttackScore, Event, TrialRecord, worst_settings
from unlearn_sweep.engine.tracking.fields import Fields, add_curve, add_scores, add_training

ATTACK = "attack:"
ENDED = ("stage_finished", "stage_reused", "stage_stopped")
Ends = dict[tuple[int, str], Event]
"""The event that ended a stage, by number of the trial and key of the stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """One stage of a trial: its name, times in seconds since 1970, status of MLflow, and what its run logs."""

    stage: str
    name: str
    started: float
    finished: float
    status: str
    fields: Fields


def stage_ends(events: Sequence[Event]) -> Ends:
    """Return the last event that ended each stage of a trial. The further seeds of finalists are left out."""
    return {
        (event.trial, event.stage_key): event
        for event in events
        if event.event in ENDED and event.trial is not None and event.stage_key and "seed" not in event.data
    }


def stage_runs(record: TrialRecord, ends: Ends) -> Iterator[StageRun]:
    """Yield the stages that a settled trial has a key for, in the order of the record.

    Times are those of the event log; a stage without an event there ends with its trial.
    """
    for stage, key in record.stage_keys.items():
        ended = ends.get((record.number, key))
        seconds = record.stage_seconds.get(stage)
        finished = ended.time if ended is not None else record.finished
        reused = stage in record.reused_stages
        yield StageRun(
            stage=stage,
            name=f"{record.number:03d} {stage.replace(':', ' ')}",
            started=finished - (0.0 if reused or seconds is None else seconds),
            finished=finished,
            status="FAILED" if stage == record.failed_stage else "FINISHED",
            fields=_fields_of(record, stage, key, reused=reused),
        )


def _fields_of(record: TrialRecord, stage: str, key: str, *, reused: bool) -> Fields:
    """Return the numbers of one stage: losses of a training, objectives of a measurement, the curve of an attack."""
    fields = Fields()
    tags = {"stage": stage, "stage_key": key, "method": record.method, "reused": reused, "seed": record.seed}
    for name, value in tags.items():
        fields.tag(name, value)
    if stage == record.failed_stage:
        fields.tag("reason", record.reason)
    fields.metric("seconds", record.stage_seconds.get(stage))
    if stage == "unlearn" and record.training is not None:
        add_training(fields, record.training)
    if stage == "evaluate":
        add_scores(fields, record)
    for score in [score for score in record.attacks if f"{ATTACK}{score.attack}" == stage]:
        _add_attack(fields, score)
        _add_setting(fields, score, record)
    return fields


def _add_attack(fields: Fields, score: AttackScore) -> None:
    """Add what is still forgotten under the attack: `rob` over all strengths, and the curve by strength."""
    fields.tag("family", score.family)
    fields.metric("rob", score.value, reason=score.reason)
    fields.metric("unseen.rob", score.report_value, reason=score.report_reason)
    add_curve(fields, score, "still_forgotten", "utility")


def _add_setting(fields: Fields, score: AttackScore, record: TrialRecord) -> None:
    """Add, for a setting of a searched attacker, its searched values and whether no other setting left less."""
    if score.searched is None:
        return
    fields.tag("attacker", score.searched)
    found = worst_settings(record.rob_detail, record.attacks).get(score.searched)
    fields.tag("worst_setting", found is not None and found.attack == score.attack)
    for name, value in sorted(score.setting.items()):
        fields.param(name, value)
