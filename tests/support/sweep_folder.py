"""A finished little sweep on disk, written through the records' own models: what every view has to cope with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.outcomes import trained
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import (
    AttackPoint,
    AttackScore,
    Control,
    Controls,
    Front,
    Normalised,
    Objective,
    TrialRecord,
)

STARTED = 1_750_000_000.0


def part(metric: str, split: str, score: float | None, reason: str | None = None) -> Normalised:
    return Normalised(
        metric=metric, split=split, group="memorisation", value=0.25, original=0.9, gold=0.1, score=score, reason=reason
    )


def relearn(value: float) -> AttackScore:
    curve = [
        AttackPoint(strength=steps, unit="steps", still_forgotten=value + 0.1 - steps / 1000, utility=0.8)
        for steps in (5, 20, 100)
    ]
    return AttackScore(
        attack="relearn", family="relearn", value=value, report_value=value, utility=0.8, curve=tuple(curve)
    )


def trial(number: int, **changes: Any) -> TrialRecord:
    """A complete trial of NPO; `changes` replace fields."""
    ue, ut, rob = 0.5 + number / 100, 0.9 - number / 100, 0.4
    fields: dict[str, Any] = {
        "number": number,
        "key": f"{number:016x}",
        "method": "npo",
        "params": {"beta": 0.1, "learning_rate": 1e-5, "retain": "kl", "number": number},
        "seed": 7,
        "state": "complete",
        "ue": ue,
        "ut": ut,
        "rob": rob,
        "report_ue": ue,
        "report_ut": ut,
        "report_rob": rob,
        "ue_detail": Objective(value=ue, standard_error=0.02, parts=(part("probability", "forget", ue),)),
        "ut_detail": Objective(value=ut, parts=(part("rouge_l", "retain", ut),), groups={"retain": ut}),
        "attacks": [relearn(rob)],
        "stage_keys": {"unlearn": f"aa{number:014x}", "evaluate": f"bb{number:014x}"},
        "stage_seconds": {"unlearn": 3.5, "attack:relearn": 1.25},
        "started": STARTED + 10 * number,
        "finished": STARTED + 10 * number + 9,
        "training": trained(
            seconds=3.25, curve=[{"step": step, "forget": 2.0 - step / 20} for step in range(0, 30, 10)]
        ),
    }
    return TrialRecord(**(fields | changes))


def controls() -> Controls:
    def control(model: Any, ue: float) -> Control:
        return Control(model=model, model_path=f"models/{model}", measured=[], ue=ue, ut=1.0)

    return Controls(original=control("original", 0.0), gold=control("gold", 1.0))


def front_of(trials: list[TrialRecord], members: list[TrialRecord], *, wanted: int) -> Front:
    return Front(
        reference_point=(0.0, 0.0, 0.0),
        front=[member.key for member in members],
        hypervolume=0.1 * len(trials),
        hypervolume_curve=[(count, 0.1 * count) for count in range(1, len(trials) + 1)],
        trials_settled=len(trials),
        trials_wanted=wanted,
    )


def write_trial(folder: Path, record: TrialRecord) -> None:
    target = folder / "trials" / f"{record.number}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(record.model_dump_json(indent=1))


def write_front(folder: Path, front: Front) -> None:
    (folder / "progress.json").write_text(front.model_dump_json())


def write_sweep(folder: Path, trials: list[TrialRecord], *, state: str | None = "sweep_finished") -> Path:
    """The whole folder; the first trial alone is on the front."""
    folder.mkdir(parents=True)
    job = {
        "name": folder.name,
        "seed": 7,
        "benchmark": {"name": "authors", "params": {}},
        "original": {"path": None, "recipe": None},
        "mlflow": "auto",
        "storage": str(folder.parent),
        "directory": str(folder),
    }
    start = {"date": "2026-01-31T12:00:00+00:00", "versions": {"torch": "2.13.0"}, "code": "c0de"}
    (folder / "spec.lock.yaml").write_text(yaml.safe_dump({"job": job, "starts": [start]}))
    (folder / "spec.yaml").write_text(f"name: {folder.name}\nseed: 7\n")
    first = {"time": STARTED, "event": "sweep_started"}
    (folder / "events.jsonl").write_text(json.dumps(first) + "\n")
    for record in trials:
        write_trial(folder, record)
    (folder / "controls.json").write_text(controls().model_dump_json())
    write_front(folder, front_of(trials, trials[:1], wanted=len(trials)))
    if state:
        EventLog(folder / "events.jsonl").append(state)
    return folder
