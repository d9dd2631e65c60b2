"""Oracle: arithmetic by hand."""

from __future__ import annotations

import pytest

from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.sweeps.report.accounting import time_account
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.estimate import seconds_left, slots_of, time_left, trial_durations, utilisation
from unlearn_sweep.sweeps.report.timeline import PLANNED_SECONDS, Timeline


def test_time_left_is_what_remains_over_what_runs_at_once() -> None:
    assert seconds_left([10.0, 20.0], remaining=4, slots=2) == 30.0  # 4 x 15 / 2
    assert seconds_left([10.0], remaining=3, slots=2, running_for=[4.0, 6.0]) == 10.0  # (30 - 10) / 2


def test_a_late_trial_counts_as_done_and_time_left_is_never_negative() -> None:
    assert seconds_left([10.0], remaining=1, slots=1, running_for=[500.0]) == 0.0


def test_only_the_last_twenty_durations_count() -> None:
    assert seconds_left([1000.0] * 5 + [1.0] * 20, remaining=3, slots=1) == 3.0


def test_nothing_is_guessed_before_the_first_trial_is_settled() -> None:
    assert seconds_left([], remaining=3, slots=1) is None
    assert seconds_left([], remaining=0, slots=1) == 0.0


def test_before_the_first_trial_time_left_is_that_of_the_plan() -> None:
    log = [
        Event(time=100.0, event="sweep_started"),
        Event(time=110.0, event="note", reason="planned", data={PLANNED_SECONDS: 60.0}),
        Event(time=150.0, event="trial_started", trial=0),
    ]
    assert time_left(Timeline.of(log), wanted=4, now=130.0) == 40.0
    assert time_left(Timeline.of(log), wanted=4, now=170.0) is None  # used up: nothing is known
    assert time_left(Timeline.of([log[0], log[2]]), wanted=4, now=130.0) is None
    settled = Event(time=160.0, event="trial_settled", trial=0, seconds=10.0, data={"state": "complete"})
    assert time_left(Timeline.of([*log, settled]), wanted=4, now=160.0) == 30.0  # three more of ten seconds
    resumed = [*log, Event(time=200.0, event="sweep_resumed")]
    assert time_left(Timeline.of(resumed), wanted=4, now=210.0) is None


def test_duplicates_have_no_duration() -> None:
    log = [
        Event(time=1.0, event="trial_settled", trial=0, seconds=5.0, data={"state": "complete"}),
        Event(time=2.0, event="trial_settled", trial=1, seconds=0.0, data={"state": "duplicate"}),
    ]
    assert trial_durations(Timeline.of(log)) == [5.0]


def test_utilisation_is_seconds_in_stages_over_slots() -> None:
    log = [
        Event(time=0.0, event="sweep_started"),
        Event(time=8.0, event="stage_finished", trial=0, stage="unlearn", seconds=6.0),
        Event(time=9.0, event="stage_failed", trial=1, stage="unlearn", seconds=2.0),
    ]
    timeline = Timeline.of(log)
    assert utilisation(timeline, elapsed=10.0, slots=2) == pytest.approx(0.4)
    assert utilisation(timeline, elapsed=10.0, slots=None) is None
    assert utilisation(timeline, elapsed=0.0, slots=2) is None


def test_a_running_stage_keeps_its_slot_busy() -> None:
    log = [
        Event(time=0.0, event="sweep_started"),
        Event(time=2.0, event="stage_started", trial=0, stage="unlearn"),
        Event(time=4.0, event="stage_started", stage="prepare:gold"),
    ]
    timeline = Timeline.of(log)
    running = timeline.running_seconds(10.0)
    assert running == 8.0 + 6.0
    assert utilisation(timeline, elapsed=10.0, slots=2, running=running) == pytest.approx(0.7)
    account = time_account(timeline, elapsed=10.0, slots=2, running=running)
    assert (account.work, account.startup, account.idle) == (14.0, 2.0, 2.0)


def test_slots_come_from_the_sweep_or_from_what_was_seen() -> None:
    log = [Event(time=0.0, event="stage_started", trial=t, stage="unlearn") for t in (0, 1, 2)]
    assert slots_of(Timeline.of(log), 8) == 8
    assert slots_of(Timeline.of(log), None) == 3
    assert slots_of(Timeline(), None) is None


def test_slots_are_what_the_driver_found_room_for() -> None:
    log = [
        Event(time=0.0, event="sweep_started"),
        Event(time=1.0, event="note", reason="Ray is up", data={"concurrent_trials": 2}),
    ]
    assert slots_of(Timeline.of(log), 8) == 2
    fewer = [*log, Event(time=2.0, event="note", reason="memory", data={"concurrent_trials": 1})]
    assert slots_of(Timeline.of(fewer), 8) == 1
    assert slots_of(Timeline.of([*fewer, Event(time=3.0, event="sweep_resumed")]), 8) == 8


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (245.0, "4 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800.0, "2 h 10 min"),
        (273_600.0, "3 d 4 h"),
        (None, "\N{EN DASH}"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
