"""Oracle: products worked out by hand."""

from __future__ import annotations

import pytest

from tests.sweeps.report.written_sweep import trial
from unlearn_sweep.engine.store.records import AttackScore, Event
from unlearn_sweep.sweeps.report.savings import savings, savings_text
from unlearn_sweep.sweeps.report.timeline import Timeline


def _skipped(*names: str) -> list[AttackScore]:
    return [AttackScore(attack=name, family="x", value=None, skipped=True, reason="beaten") for name in names]


def _ran(name: str, seconds: float, number: int | None) -> Event:
    return Event(time=1.0, event="stage_finished", trial=number, stage=f"attack:{name}", seconds=seconds)


def test_each_skipped_attack_counts_its_mean_in_trials_else_on_the_controls() -> None:
    events = [_ran("a", 2.0, 0), _ran("a", 4.0, 1), _ran("a", 100.0, None), _ran("b", 7.0, None), _ran("b", 9.0, None)]
    trials = [
        trial(0).model_copy(update={"attacks": _skipped("a", "b", "c")}),
        trial(1).model_copy(update={"attacks": _skipped("a")}),
        trial(2).model_copy(update={"attacks": _skipped("a"), "state": "duplicate"}),
    ]
    saved = savings(trials, Timeline.of(events))
    assert (saved.trials, saved.skipped, saved.unknown) == (2, 4, 1)
    assert {entry.attack: entry.seconds for entry in saved.attacks} == {"a": 6.0, "b": 8.0, "c": None}
    assert saved.seconds == 14.0
    assert saved.share == pytest.approx(14 / 20)  # 6 s were spent in trials
    assert savings_text(saved) == (
        "4 attacks of 2 trials skipped, about 14 s saved, 70% of the attack time; 1 more of unknown cost"
    )


def test_without_a_skipped_attack_nothing_is_said() -> None:
    saved = savings([trial(0)], Timeline.of([_ran("a", 2.0, 0)]))
    assert (saved.skipped, saved.seconds, saved.share) == (0, 0.0, 0.0)
    assert savings_text(saved) is None


def test_an_unknown_cost_is_said_and_not_counted_as_nothing() -> None:
    saved = savings([trial(0).model_copy(update={"attacks": _skipped("c")})], Timeline.of([]))
    assert savings_text(saved) == (
        "1 attack of 1 trial skipped; none of them was run in this sweep, so the time saved is unknown"
    )
