"""Reading a sweep's folder. Oracle: the records that were written into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.sweep_folder import STARTED, trial, write_sweep, write_trial
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.snapshot import NotASweepError, read_snapshot


def test_everything_is_read(tmp_path: Path) -> None:
    records = [trial(10), trial(2), trial(1)]
    folder = write_sweep(tmp_path / "demo", records)
    snapshot = read_snapshot(folder)
    assert (snapshot.name, snapshot.benchmark, snapshot.state) == ("demo", "authors", "finished")
    assert snapshot.records == sorted(records, key=lambda record: record.number)
    assert snapshot.front is not None
    assert snapshot.controls is not None
    assert snapshot.first_event_s == STARTED
    assert snapshot.unreadable == {}


@pytest.mark.parametrize(
    ("event", "state"),
    [("sweep_stopped", "stopped"), ("sweep_resumed", "running"), ("trial_settled", "finished")],
)
def test_the_last_event_of_the_sweep_decides_its_state(tmp_path: Path, event: str, state: str) -> None:
    folder = write_sweep(tmp_path / "demo", [trial(0)])
    EventLog(folder / "events.jsonl").append(event)
    assert read_snapshot(folder).state == state


def test_unsettled_scratch_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [trial(0)])
    write_trial(folder, trial(1, state="running"))
    (folder / "trials" / ".2.json.17.tmp").write_text("{")
    (folder / "trials" / "notes.json").write_text("{}")
    assert [record.number for record in read_snapshot(folder).records] == [0]


def test_broken_files_are_named_with_the_place_of_the_mistake(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [trial(0)])
    (folder / "trials" / "1.json").write_text(trial(1).model_dump_json().replace('"seed":7', '"seed":"seven"'))
    (folder / "progress.json").write_text('{"front": []')
    (folder / "controls.json").write_text('{"original": 1}')
    (folder / "spec.lock.yaml").write_text("a: [")
    snapshot = read_snapshot(folder)
    assert sorted(snapshot.unreadable) == ["controls.json", "progress.json", "spec.lock.yaml", "trials/1.json"]
    assert snapshot.unreadable["trials/1.json"].startswith("1 mistake, the first at seed:")
    assert (snapshot.front, snapshot.controls, snapshot.name) == (None, None, "demo")
    assert len(snapshot.records) == 1


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotASweepError, match=r"neither spec\.lock\.yaml nor trials"):
        read_snapshot(tmp_path)


def test_a_sweep_that_has_only_begun_is_empty_but_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "spec.lock.yaml").write_text("job: {name: begun, benchmark: authors}\n")
    snapshot = read_snapshot(tmp_path)
    assert (snapshot.name, snapshot.benchmark, snapshot.state, snapshot.records) == ("begun", "authors", "running", [])


@pytest.mark.parametrize("what", ["folder", "loop"])
def test_a_record_that_is_no_file_is_unreadable_and_the_others_are_read(tmp_path: Path, what: str) -> None:
    sweep = write_sweep(tmp_path / "demo", [trial(0), trial(1)])
    path = sweep / "trials" / "1.json"
    path.unlink()
    if what == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name)
    found = read_snapshot(sweep)
    assert [record.number for record in found.records] == [0]
    assert list(found.unreadable) == ["trials/1.json"]
