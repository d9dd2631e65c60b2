"""Sweep folders to read, written by the engine's own record models. Inputs for tests: none of it was measured.

The numbers follow simple rules from a seed, so that a front, bounds, failures and missing values all occur.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.outcomes import trained
from unlearn_sweep.engine.store.records import (
    AttackPoint,
    AttackScore,
    Control,
    Controls,
    Event,
    Measured,
    Normalised,
    Objective,
    TrialRecord,
)
from unlearn_sweep.engine.study.front import front_of

START = 1_760_000_000.0
RELEARN_STEPS = (0.0, 5.0, 10.0, 20.0)
ATTACKS = {"prefill": "prompt", "quantize-4bit": "quantize", "relearn-forget": "relearn"}
METHODS: dict[str, dict[str, tuple[float, float]]] = {
    "graddiff": {"learning_rate": (1e-4, 3e-3), "retain_weight": (0.5, 4.0)},
    "npo": {"learning_rate": (1e-4, 3e-3), "beta": (0.05, 1.0)},
    "simnpo": {"learning_rate": (1e-4, 3e-3), "beta": (1.0, 8.0), "gamma": (0.0, 2.0)},
}
NAUGHTY = (
    "</script><script>alert(1)</script> <img src=x onerror=alert(2)> & \"quoted\" 'text' {{data}} $x_1$ \u2028 =1+1"
)


def objective(value: float, metric: str, split: str) -> Objective:
    """A UE or UT with one part."""
    part = Normalised(
        metric=metric, split=split, group="memorisation", value=1 - value, original=1.0, gold=0.02, score=value
    )
    return Objective(value=value, standard_error=0.02, parts=(part,), groups={"memorisation": value})


def attack_score(name: str, start: float, strength: float, noise: random.Random) -> AttackScore:
    """One attack: `start` of forgetting, of which `strength` is lost at the end."""
    strengths, unit = (RELEARN_STEPS, "steps") if name.startswith("relearn") else ((1.0,), "once")
    curve = []
    for step in strengths:
        left = max(0.0, start * (1 - strength * (step / strengths[-1])))
        metrics = {"extraction_strength": 0.05 + 0.9 * (1 - left), "probability": 0.02 + 0.8 * (1 - left)}
        unseen = {metric: 0.9 * mean for metric, mean in metrics.items()}
        curve.append(
            AttackPoint(
                strength=step, unit=unit, still_forgotten=left, utility=0.8, metrics=metrics, report_metrics=unseen
            )
        )
    value = sum(point.still_forgotten or 0.0 for point in curve) / len(curve)
    held_out = min(1.0, max(0.0, value + noise.uniform(-0.05, 0.05)))
    return AttackScore(
        attack=name,
        family=ATTACKS.get(name, "prompt"),
        value=value,
        report_value=held_out,
        report_left=tuple((point.still_forgotten or 0.0) * 0.9 for point in curve),
        utility=0.8,
        curve=tuple(curve),
    )


def trial(number: int, seed: int = 0) -> TrialRecord:
    """A complete trial; what it reaches depends on its number and the seed."""
    noise = random.Random(f"{seed}-{number}")
    method = list(METHODS)[number % len(METHODS)]
    params = {name: low * (high / max(low, 1e-3)) ** noise.random() if low else noise.uniform(low, high)
              for name, (low, high) in METHODS[method].items()}  # fmt: skip
    push = noise.random()
    ue, ut = min(1.0, 0.35 + 0.6 * push), max(0.05, 1.0 - 0.7 * push * noise.uniform(0.3, 1.0))
    attacks = [attack_score(name, ue, noise.uniform(0.05, 0.9), noise) for name in ATTACKS]
    rob = min(attack.value or 0.0 for attack in attacks)
    seconds = {"unlearn": 4 + 3 * push, "evaluate": 1.2, **{f"attack:{name}": 1.0 + noise.random() for name in ATTACKS}}
    started = START + 60 + 12 * number
    return TrialRecord(
        number=number, key=f"{number:04d}{seed:012x}", method=method, params=params, seed=7, state="complete",
        ue=ue, ut=ut, rob=rob, report_ue=_near(ue, noise), report_ut=_near(ut, noise), report_rob=_near(rob, noise),
        ue_detail=objective(ue, "extraction_strength", "forget"), ut_detail=objective(ut, "probability", "retain"),
        attacks=attacks, stage_seconds=seconds, stage_keys={stage: f"{stage}-{number}" for stage in seconds},
        started=started, finished=started + sum(seconds.values()) + 0.2, model_path=f"store/models/{number:04d}",
        training=trained(curve=[{"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}]),
    )  # fmt: skip


def special(number: int, kind: str, seed: int = 0) -> TrialRecord:
    """A trial that is not simply complete: "bound", "failed", "collapsed", "duplicate", "missing" or "naughty"."""
    base = trial(number, seed)
    unmeasured = ("ue", "ut", "rob", "report_ue", "report_ut", "report_rob", "ue_detail", "ut_detail")
    nothing: dict[str, Any] = {**dict.fromkeys(unmeasured), "attacks": []}
    if kind == "bound":
        reason = "a finished trial is at least as good on UE, UT and the highest Rob still possible here"
        skip = {
            "value": None,
            "report_value": None,
            "utility": None,
            "curve": (),
            "report_left": (),
            "skipped": True,
            "reason": reason,
        }
        skipped = [attack.model_copy(update=skip) for attack in base.attacks[1:]]
        bound = base.attacks[0].value or 0.0
        changes = {
            "attacks": [base.attacks[0], *skipped],
            "rob": bound,
            "report_rob": bound,
            "rob_is_bound": True,
            "ue": 0.3,
            "ut": 0.3,
        }
    elif kind == "failed":
        changes = {**nothing, "state": "failed", "failed_stage": "unlearn", "attempts": 2,
                   "reason": "OutOfMemoryError: the optimizer state needs 3.1 GiB, 2.0 GiB are free"}  # fmt: skip
    elif kind == "collapsed":
        changes = {"state": "collapsed", "ut": 0.01, "rob": None, "report_rob": None, "attacks": [],
                   "reason": "UT 0.010 is below 0.05: the model has lost its utility"}  # fmt: skip
    elif kind == "duplicate":
        changes = {"state": "duplicate", "duplicate_of": 0, "key": trial(0, seed).key, "attacks": []}
    elif kind == "missing":
        reason = "original and gold differ by less than two standard errors under this attack"
        last = base.attacks[-1].model_copy(update={"value": None, "report_value": None, "curve": (), "reason": reason})
        changes = {"attacks": [*base.attacks[:-1], last], "rob": None, "report_rob": None}
    else:
        changes = {"method": f"npo{NAUGHTY}", "params": {NAUGHTY: NAUGHTY, "learning_rate": 1e-3}, "reason": NAUGHTY}
        attack = base.attacks[0].model_copy(update={"attack": NAUGHTY, "reason": NAUGHTY})
        changes["attacks"] = [attack, *base.attacks[1:]]
    return base.model_copy(update=changes)


def controls() -> Controls:
    """The original knows everything and the gold model nothing; relearning teaches the gold model a little."""

    def points(name: str, start: float, end: float) -> list[AttackPoint]:
        steps, unit = (RELEARN_STEPS, "steps") if name.startswith("relearn") else ((1.0,), "once")
        values = [start + (end - start) * index / max(1, len(steps) - 1) for index in range(len(steps))]
        return [AttackPoint(strength=step, unit=unit, still_forgotten=None, utility=1.0,
                            metrics={"extraction_strength": value, "probability": 0.9 * value},
                            report_metrics={"extraction_strength": 0.8 * value, "probability": 0.7 * value})
                for step, value in zip(steps, values, strict=True)]  # fmt: skip

    def control(model: Any, ue: float, level: tuple[float, float]) -> Control:
        measured = [
            Measured(
                metric="extraction_strength", split="forget", half="search", value=level[0], standard_error=0.01, n=100
            )
        ]
        attacks = {name: points(name, *level) for name in ATTACKS}
        return Control(
            model=model, model_path=f"store/models/{model}", measured=measured, ue=ue, ut=1.0, attacks=attacks
        )

    return Controls(original=control("original", 0.0, (0.97, 0.99)), gold=control("gold", 0.98, (0.04, 0.15)))


def events_of(
    records: Sequence[TrialRecord], *, wanted: int, running: int = 0, ended: str | None = "sweep_finished"
) -> list[Event]:
    """The log that such trials leave, preparation first. `running` more trials have started and not settled."""
    log = [Event(time=START, event="sweep_started", data={"trials": wanted})]
    for index, stage in enumerate(
        ("prepare:start", "prepare:original", "prepare:gold", "evaluate", "evaluate", "attack:relearn-forget")
    ):
        when = START + 10 * index
        log.append(Event(time=when, event="stage_started", stage=stage, stage_key=f"p{index}", attempt=1))
        log.append(
            Event(time=when + 9, event="stage_finished", stage=stage, stage_key=f"p{index}", seconds=9.0, attempt=1)
        )
    for record in records:
        log += _trial_events(record)
    last = max((record.finished for record in records), default=START + 60)
    for number in range(len(records), len(records) + running):
        data = {"method": "npo", "params": {"beta": 0.1}, "key": f"open{number}"}
        log.append(Event(time=last + 1, event="trial_asked", trial=number, data=data))
        log.append(Event(time=last + 1, event="trial_started", trial=number, attempt=1, data={"method": "npo"}))
        log.append(Event(time=last + 2, event="stage_started", trial=number, stage="unlearn", stage_key="u", attempt=1))
    if ended is not None:
        log.append(Event(time=last + 5, event=ended, seconds=last + 5 - START))
    return log


def write_sweep(
    directory: Path, records: Sequence[TrialRecord], *, benchmark: str = "authors", wanted: int | None = None,
    running: int = 0, ended: str | None = "sweep_finished", front: bool = True, with_controls: bool = True,
    spec: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write everything a sweep leaves on disk for these trials and return its folder."""
    wanted = len(records) if wanted is None else wanted
    (directory / "trials").mkdir(parents=True)
    job = {
        "name": directory.name,
        "seed": 7,
        "benchmark": {"name": benchmark, "params": {}},
        "search": {"trials": wanted},
        "attacks": [{"label": label, "family": family} for label, family in ATTACKS.items()],
        "mlflow": "auto",
        "concurrent_trials": 2,
        **(spec or {}),
    }
    versions = {"torch": "2.13.0", "ray": "2.60.0", "unlearn-sweep": "0.1.0"}
    lock = {"job": job, "starts": [{"date": "2026-01-31T12:00:00+00:00", "versions": versions, "code": "c0de"}]}
    (directory / "spec.lock.yaml").write_text(yaml.safe_dump(lock, sort_keys=False, allow_unicode=True))
    for record in records:
        (directory / "trials" / f"{record.number}.json").write_text(record.model_dump_json(indent=1))
    log = events_of(records, wanted=wanted, running=running, ended=ended)
    (directory / "events.jsonl").write_text("".join(event.model_dump_json(exclude_none=True) + "\n" for event in log))
    if front:
        (directory / "progress.json").write_text(front_of(records, wanted=wanted).model_dump_json())
    if with_controls:
        (directory / "controls.json").write_text(controls().model_dump_json())
    return directory


def mixed_trials(complete: int = 12, seed: int = 0) -> list[TrialRecord]:
    """Complete trials and one of every other kind but the naughty one."""
    kinds = ("bound", "failed", "collapsed", "duplicate", "missing")
    return [trial(n, seed) for n in range(complete)] + [
        special(complete + i, kind, seed) for i, kind in enumerate(kinds)
    ]


def _near(value: float, noise: random.Random) -> float:
    return min(1.0, max(0.0, value + noise.uniform(-0.06, 0.04)))


def _trial_events(record: TrialRecord) -> list[Event]:
    asked = {"method": record.method, "params": record.params, "key": record.key}
    log = [Event(time=record.started - 0.1, event="trial_asked", trial=record.number, data=asked)]
    log.append(
        Event(
            time=record.started, event="trial_started", trial=record.number, attempt=1, data={"method": record.method}
        )
    )
    when = record.started
    for stage, seconds in record.stage_seconds.items():
        key = record.stage_keys.get(stage)
        log.append(Event(time=when, event="stage_started", trial=record.number, stage=stage, stage_key=key, attempt=1))
        when += seconds
        end = "stage_failed" if stage == record.failed_stage else "stage_finished"
        reason = record.reason if end == "stage_failed" else None
        where = {"trial": record.number, "stage": stage, "stage_key": key, "attempt": 1}
        log.append(Event(time=when, event=end, seconds=seconds, reason=reason, **where))
        if end == "stage_failed":
            break
    state = {"state": record.state, "ue": record.ue, "ut": record.ut, "rob": record.rob}
    settled = Event(
        time=record.finished,
        event="trial_settled",
        trial=record.number,
        seconds=record.finished - record.started,
        data=state,
    )
    return [*log, settled]


def append_line(path: Path, text: str) -> None:
    """Append raw text to a log, whole or torn."""
    with path.open("a") as file:
        file.write(text)


def event_line(event: Event) -> str:
    """An event as its line."""
    return json.dumps(event.model_dump(exclude_none=True)) + "\n"
