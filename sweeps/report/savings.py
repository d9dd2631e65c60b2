"""Estimate the attack time that pruning saved: skipped runs times the mean duration of the attack in this sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.timeline import StageCost, Timeline


class _Part(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")


class AttackSaving(_Part):
    """Savings of one attack.

    Attributes:
        attack: Name of the attack.
        skipped: Number of trials that skipped it.
        seconds_each: Mean seconds of its runs in this sweep; None if it never ran.
        seconds: `skipped` times `seconds_each`; None if unknown.
    """

    attack: str
    skipped: int
    seconds_each: float | None
    seconds: float | None


class Savings(_Part):
    """Savings of all attacks.

    Attributes:
        trials: Number of trials that skipped at least one attack.
        skipped: Number of skipped attack runs.
        seconds: Seconds saved, without the skipped runs of unknown duration.
        unknown: Number of skipped runs of unknown duration.
        share: `seconds` divided by the sum of `seconds` and the attack time spent; None if both are zero.
        attacks: Savings per attack, most often skipped first.
    """

    trials: int
    skipped: int
    seconds: float
    unknown: int
    share: float | None
    attacks: list[AttackSaving]


def savings(trials: Iterable[TrialRecord], timeline: Timeline) -> Savings:
    """Compute what pruning saved. If no trial ran an attack, use its mean duration on the original and gold models."""
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
    """Return the savings as one sentence; None if no attack was skipped."""
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
