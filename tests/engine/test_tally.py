"""What metrics of a running sweep are made of. Oracle: counts and sums over a log written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.engine.tally import StageEnd, Tally

HELD = {"training": {"GPU": 2.0, "CPU": 4.0}, "measuring": {"GPU": 0.5, "CPU": 1.0}}


def event(name: str, **fields: Any) -> Event:
    return Event(time=0.0, event=name, **fields)


LOG = [
    event("sweep_started"),
    event("stage_finished", stage="prepare:original", seconds=10.0),
    event("trial_started", trial=0),
    event("trial_started", trial=1),
    event("stage_finished", trial=0, stage="unlearn", seconds=6.0),
    event("stage_reused", trial=0, stage="evaluate", seconds=0.0),
    event("stage_lost", trial=0, stage="attack:relearn", seconds=3.0),
    event("attack_skipped", trial=0, stage="attack:gcg"),
    event("trial_settled", trial=0, data={"state": "complete"}),
    event("trial_settled", trial=1, data={"state": "collapsed"}),
    event("trial_started", trial=2),
]


def test_states_gates_and_device_hours() -> None:
    tally = Tally()
    ended = [tally.apply(entry, HELD) for entry in LOG]
    assert tally.states(5) == {
        "complete": 1, "collapsed": 1, "stopped": 0, "failed": 0, "duplicate": 0, "running": 1, "waiting": 2
    }  # fmt: skip
    assert [stage for stage in ended if stage] == [
        StageEnd(stage="prepare:original", result="finished", seconds=10.0),
        StageEnd(stage="unlearn", result="finished", seconds=6.0),
        StageEnd(stage="evaluate", result="reused", seconds=0.0),
        StageEnd(stage="attack:relearn", result="lost", seconds=3.0),
    ]
    assert tally.gates == {"collapsed": 1}
    assert tally.skipped_attacks == 1
    assert tally.device_seconds == pytest.approx({"GPU": 16 * 2 + 3 * 0.5, "CPU": 16 * 4 + 3})


def test_a_stopped_training_held_its_devices() -> None:
    tally = Tally()
    ended = tally.apply(event("stage_stopped", trial=3, stage="unlearn", seconds=2.0), HELD)
    tally.apply(event("trial_settled", trial=3, data={"state": "stopped"}), HELD)
    assert ended == StageEnd(stage="unlearn", result="stopped", seconds=2.0)
    assert tally.device_seconds == {"GPU": 4.0, "CPU": 8.0}
    assert (tally.gates, tally.states(1)["stopped"]) == ({"stopped": 1}, 1)


def test_a_new_driver_has_no_running_trials() -> None:
    tally = Tally()
    for entry in [*LOG, event("sweep_resumed")]:
        tally.apply(entry, HELD)
    assert tally.states(5)["running"] == 0
    assert tally.states(5)["waiting"] == 3
