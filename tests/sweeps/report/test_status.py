"""Oracle: counts and times that follow from the few events written here."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.sweeps.report.written_sweep import (
    NAUGHTY,
    START,
    append_line,
    event_line,
    mixed_trials,
    special,
    trial,
    write_sweep,
)
from unlearn_sweep.engine.store.durable import file_lock
from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.store.training_progress import TrainingProgress
from unlearn_sweep.engine.study.front import front_of
from unlearn_sweep.sweeps.report.records import SweepNotFoundError
from unlearn_sweep.sweeps.report.status import render, status


def _text(state: dict) -> str:
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(render(state))
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_finished_sweep_has_nothing_left_to_do(tmp_path: Path) -> None:
    trials = mixed_trials(6)
    state = status(write_sweep(tmp_path / "demo", trials))
    assert state["state"] == "finished"
    assert state["trials"] == {"complete": 8, "failed": 1, "collapsed": 1, "duplicate": 1}
    assert state["settled"] == 10  # the duplicate was settled from another trial
    assert state["time_left_seconds"] is None
    assert state["running"] == []
    assert [row["key"] for row in state["front"]] == sorted(
        front_of(trials, wanted=1).front, key=[row["key"] for row in state["front"]].index
    )
    assert {row["key"] for row in state["front"]} == set(front_of(trials, wanted=1).front)


def test_times_are_sums_of_the_log(tmp_path: Path) -> None:
    trials = [trial(0), trial(1)]
    state = status(write_sweep(tmp_path / "demo", trials))
    unlearn = sum(record.stage_seconds["unlearn"] for record in trials)
    assert state["compute_seconds"]["unlearn"] == pytest.approx(unlearn)
    assert state["elapsed_seconds"] == pytest.approx(trials[1].finished + 5 - START)
    compute = sum(state["compute_seconds"].values())
    assert state["utilisation"] == pytest.approx(compute / (2 * state["elapsed_seconds"]))


def test_a_running_sweep_tells_stages_and_time_left(tmp_path: Path) -> None:
    trials = [trial(0), trial(1)]
    folder = write_sweep(tmp_path / "demo", trials, running=2, ended=None, wanted=10)
    last = max(record.finished for record in trials)
    with file_lock(folder / "driver.lock", wait=False):
        state = status(folder, now=last + 5)
    assert [(row["trial"], row["stage"], row["seconds"]) for row in state["running"]] == [
        (2, "unlearn", pytest.approx(3.0)),
        (3, "unlearn", pytest.approx(3.0)),
    ]
    mean = sum(record.finished - record.started for record in trials) / 2
    assert state["time_left_seconds"] == pytest.approx((8 * mean - 2 * 4) / 2)  # started 4 s ago, two at once
    assert state["last_event_seconds_ago"] == pytest.approx(3.0)


def test_a_dead_drivers_trials_are_lost_and_not_running(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [trial(0)], running=2, ended=None)
    (folder / "driver.lock").write_text("process 1 of somebody")
    state = status(folder)
    assert (state["state"], state["lost"], state["running"]) == ("stopped", [1, 2], [])
    assert "continued by the next run: trials 1, 2" in _text(state)
    resumed = Event(time=3e9, event="sweep_resumed")
    again = Event(time=3e9 + 1, event="trial_started", trial=2, attempt=2)
    append_line(folder / "events.jsonl", event_line(resumed) + event_line(again))
    with file_lock(folder / "driver.lock", wait=False):
        assert status(folder, now=3e9 + 2)["lost"] == [1]


def test_the_step_of_a_training_is_shown(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [], ended=None, front=False, with_controls=False, wanted=4)
    key = "0123456789abcdef"
    begun = Event(time=2e9, event="stage_started", stage="prepare:original", stage_key=key)
    append_line(folder / "events.jsonl", event_line(begun))
    said = TrainingProgress(step=3, steps=9, left_s=30.0, loss_name="train_cross_entropy", loss=0.5, time=2e9 + 1)
    said.write(StageStore(tmp_path).partial_folder(key))
    with file_lock(folder / "driver.lock", wait=False):
        state = status(folder, now=2e9 + 30)
    assert [row["training"] for row in state["running"]] == ["step 3 of 9, train cross entropy 0.500, about 30 s left"]
    assert "step 3 of 9" in _text(state)


def test_a_preparation_stage_under_way_is_shown(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [], ended=None, front=False, with_controls=False, wanted=4)
    append_line(folder / "events.jsonl", event_line(Event(time=2e9, event="stage_started", stage="prepare:big")))
    with file_lock(folder / "driver.lock", wait=False):
        state = status(folder, now=2e9 + 30)
    (running,) = state["running"]
    assert running == {
        "trial": None, "seed": None, "method": None, "stage": "prepare:big", "seconds": 30.0, "training": None
    }  # fmt: skip
    assert state["time_left_seconds"] is None
    assert "time left unknown before the first trial" in _text(state)


def test_the_state_is_plain_json(tmp_path: Path) -> None:
    state = status(write_sweep(tmp_path / "demo", [*mixed_trials(3), special(8, "naughty")]))
    assert json.loads(json.dumps(state, allow_nan=False)) == state


def test_texts_from_records_are_printed_and_not_interpreted(tmp_path: Path) -> None:
    evil = special(0, "failed").model_copy(update={"method": "[bold]npo[/]", "reason": f"[red]{NAUGHTY}"})
    text = _text(status(write_sweep(tmp_path / "demo", [evil])))
    assert "[bold]npo[/]" in text
    assert "[red]</script>" in text


def test_the_terminal_view_names_front_failures_and_broken_files(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(6))
    (folder / "trials" / "0.json").write_text("{")
    text = _text(status(folder))
    assert "demo  finished" in text
    assert "OutOfMemoryError" in text
    assert "Not readable: trials/0.json" in text
    assert "hypervolume" in text


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepNotFoundError, match="is no sweep"):
        status(tmp_path)
