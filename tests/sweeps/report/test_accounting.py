"""Oracle: a log of which every second is accounted for by hand."""

from __future__ import annotations

import pytest

from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.sweeps.report.accounting import time_account, time_text
from unlearn_sweep.sweeps.report.timeline import Timeline


def _at(time: float, event: str, **fields: object) -> Event:
    return Event(time=time, event=event, **fields)  # pyright: ignore[reportArgumentType]


LOG = [
    _at(0, "sweep_started"),
    _at(10, "stage_started", stage="prepare:gold", stage_key="g"),  # 10 s of starting up
    _at(30, "stage_finished", stage="prepare:gold", stage_key="g", seconds=20.0),
    _at(30, "trial_asked", trial=0),
    _at(33, "trial_started", trial=0),  # waited 3 s
    _at(33, "stage_started", trial=0, stage="unlearn"),
    _at(40, "stage_finished", trial=0, stage="unlearn", seconds=7.0),
    _at(40, "stage_started", trial=0, stage="evaluate"),
    _at(45, "note"),  # killed here: 5 s of the evaluation are lost
    _at(100, "sweep_resumed"),
    _at(106, "trial_started", trial=0),
    _at(106, "stage_reused", trial=0, stage="unlearn", seconds=0.0),  # 6 s of starting up
    _at(106, "stage_started", trial=0, stage="evaluate"),
    _at(108, "stage_failed", trial=0, stage="evaluate", seconds=2.0),  # 2 s lost
    _at(110, "trial_settled", trial=0, seconds=4.0),
    _at(110, "sweep_finished"),
]


def test_every_second_is_somewhere() -> None:
    timeline = Timeline.of(LOG)
    elapsed = timeline.elapsed_seconds(110, alive=False)
    assert elapsed == 45 + 10
    account = time_account(timeline, elapsed=elapsed, slots=2)
    assert (account.work, account.lost, account.startup, account.waiting) == (27.0, 7.0, 16.0, 3.0)
    assert account.available == 110
    assert account.idle == 110 - 27 - 7 - 2 * 16
    assert account.utilisation == pytest.approx(29 / 110)  # stages that ended, well or not
    assert time_text(account) == (
        "27 s of work, 7.0 s of lost work, 16 s of starting up, 44 s idle, of 1 min 50 s in 2 slots: utilisation 26%"
    )


def test_without_slots_there_is_no_share() -> None:
    account = time_account(Timeline.of(LOG), elapsed=55, slots=None)
    assert (account.available, account.idle, account.utilisation) == (None, None, None)
    assert time_text(account) == "27 s of work, 7.0 s of lost work, 16 s of starting up"


def test_a_stage_that_still_runs_is_not_lost() -> None:
    timeline = Timeline.of(LOG[:8])
    assert timeline.lost_work_seconds() == 0.0
