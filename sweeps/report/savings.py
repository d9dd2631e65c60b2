"""How much attack time pruning saved: what was skipped, times what the same attacks took in this sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.timeline import StageCost, Timeline


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")


class AttackSaving(_Part):
    """One attack. `seconds_each` is its mean over this sweep's runs, None where none was run; `seconds` the product."""

    attack: str
    skipped: int
    seconds_each: float | None
    seconds: float | None


class Savings(_Part):
    """All attacks skipped. `seconds` leaves out those whose cost is unknown, `unknown` counts them.

    `share` is the part of all attack time that was not spent; None where nothing is known.
    """

    trials: int
    skipped: int
    seconds: float
    unknown: int
    share: float | None
    attacks: list[AttackSaving]


def savings(trials: Iterable[TrialRecord], timeline: Timeline) -> Savings:
    """What pruning saved. Mean seconds are those in trials; of an attack no trial ran, those on the two controls."""
    skipped: Counter[str] = Counter()
    pruned = 0
    for trial in trials:
        names = [score.attack for score in trial.attacks if score.skipped] if trial.state != "duplicate" else []
        skipped.update(names)
        pruned += bool(names)
    attacks = []
    for name, count in skipped.most_common():
        each = _mean_seconds(name, timeline)
        total = None if each is None else each * count
        attacks.append(AttackSaving(attack=name, skipped=count, seconds_each=each, seconds=total))
    seconds = sum(attack.seconds or 0.0 for attack in attacks)
    spent = sum(cost.seconds for (stage, in_trial), cost in timeline.costs.items() if in_trial and _is_attack(stage))
    return Savings(
        trials=pruned,
        skipped=skipped.total(),
        seconds=seconds,
        unknown=sum(attack.skipped for attack in attacks if attack.seconds is None),
        share=seconds / (seconds + spent) if seconds + spent else None,
        attacks=attacks,
    )


def savings_text(saved: Savings) -> str | None:
    """One sentence; None where nothing was skipped."""
    if not saved.skipped:
        return None
    attacks = f"{saved.skipped} attack{'s' if saved.skipped > 1 else ''}"
    trials = f"{saved.trials} trial{'s' if saved.trials > 1 else ''}"
    if saved.unknown == saved.skipped:
        return f"{attacks} of {trials} skipped; none of them was run in this sweep, so the time saved is unknown"
    share = f", {100 * saved.share:.0f}% of the attack time" if saved.share is not None else ""
    rest = f"; {saved.unknown} more of unknown cost" if saved.unknown else ""
    return f"{attacks} of {trials} skipped, about {duration(saved.seconds)} saved{share}{rest}"


def _mean_seconds(attack: str, timeline: Timeline) -> float | None:
    for in_trial in (True, False):
        cost = timeline.costs.get((f"attack:{attack}", in_trial), StageCost())
        if cost.runs:
            return cost.seconds / cost.runs
    return None


def _is_attack(stage: str) -> bool:
    return stage.startswith("attack:")
