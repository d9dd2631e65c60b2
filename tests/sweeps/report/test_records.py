"""Oracle: what was written is what is read; damage is named and hides nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.sweeps.report.written_sweep import append_line, event_line, mixed_trials, trial, write_sweep
from unlearn_sweep.engine.store.durable import file_lock
from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.engine.study.front import front_of
from unlearn_sweep.sweeps.report.records import SweepNotFoundError, read_sweep


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    trials = mixed_trials(6)
    data = read_sweep(write_sweep(tmp_path / "demo", trials))
    assert data.trials == trials
    assert (data.name, data.benchmark, data.state, data.trials_wanted) == ("demo", "authors", "finished", len(trials))
    assert data.front_source == "progress.json"
    assert data.problems == []


def test_a_torn_last_line_is_passed_over_and_read_once_it_is_whole(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(4), ended=None)
    before = len(read_sweep(folder).snapshot.events)
    line = event_line(Event(time=2e9, event="trial_started", trial=50))
    append_line(folder / "events.jsonl", line[:20])
    assert len(read_sweep(folder).snapshot.events) == before
    append_line(folder / "events.jsonl", line[20:])
    assert [trial.number for trial in read_sweep(folder).open_trials] == [50]


def test_one_broken_trial_file_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(4))
    (folder / "trials" / "2.json").write_text('{"number": 2, "surprise": 1}')
    data = read_sweep(folder)
    assert 2 not in [trial.number for trial in data.trials]
    assert len(data.trials) == 8
    assert len(data.problems) == 1
    assert data.problems[0].startswith("trials/2.json: ")


def test_without_progress_json_the_front_is_looked_up_among_the_records(tmp_path: Path) -> None:
    trials = mixed_trials(8)
    data = read_sweep(write_sweep(tmp_path / "demo", trials, front=False))
    assert data.front_source == "trial records"
    assert data.front == front_of(trials, wanted=len(trials))


def test_a_log_without_an_end_runs_only_while_a_driver_holds_the_lock(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [trial(0)], running=2, ended=None)
    with file_lock(folder / "driver.lock", wait=False):
        data = read_sweep(folder)
        assert data.state == "running"
        assert [trial.number for trial in data.open_trials] == [1, 2]
    data = read_sweep(folder)
    assert data.state == "stopped"
    assert data.open_trials == []


@pytest.mark.parametrize(("ended", "state"), [("sweep_finished", "finished"), ("sweep_stopped", "stopped")])
def test_an_ending_in_the_log_decides_the_state(tmp_path: Path, ended: str, state: str) -> None:
    assert read_sweep(write_sweep(tmp_path / "demo", [trial(0)], ended=ended)).state == state


def test_a_wrong_folder_is_refused_with_the_sweeps_near_it(tmp_path: Path) -> None:
    write_sweep(tmp_path / "quickstart", [trial(0)])
    with pytest.raises(SweepNotFoundError, match=r"did you mean .*quickstart"):
        read_sweep(tmp_path / "quickstrat")
    with pytest.raises(SweepNotFoundError, match="sweeps there: quickstart"):
        read_sweep(tmp_path)


def test_a_sweep_without_attacks_has_two_objectives(tmp_path: Path) -> None:
    bare = trial(0).model_copy(update={"rob": None, "attacks": []})
    assert read_sweep(write_sweep(tmp_path / "demo", [bare], spec={"attacks": []})).objectives == ["ue", "ut"]


@pytest.mark.slow
def test_ten_thousand_trials_open_in_ten_seconds(tmp_path: Path) -> None:
    """Processor time, so that a busy machine does not decide."""
    folder = write_sweep(tmp_path / "demo", [trial(number) for number in range(10_000)])
    began = time.process_time()
    data = read_sweep(folder)
    assert time.process_time() - began < 10.0
    assert len(data.trials) == 10_000
