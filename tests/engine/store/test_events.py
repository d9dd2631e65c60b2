"""Oracle: what was appended, counted line by line; tearing is done by hand."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from unlearn_sweep.engine.store.events import EventLog


def _append_many(path: str, who: int, count: int) -> None:
    log = EventLog(Path(path))
    for index in range(count):
        log.append("note", trial=who, data={"index": index, "text": "x" * 500})


def test_several_processes_never_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(str(path), who, 40)) for who in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    events = EventLog(path).read()
    assert len(path.read_text().splitlines()) == 120
    for who in range(3):
        assert [event.data["index"] for event in events if event.trial == who] == list(range(40))


def test_a_torn_line_is_skipped_and_closed_off(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append("trial_asked", trial=0)
    with log.path.open("a") as file:
        file.write('{"time": 1.0, "event": "trial_sett')
    assert [event.event for event in log.read()] == ["trial_asked"]
    log.append("trial_asked", trial=1)
    assert [event.trial for event in log.read()] == [0, 1]


def test_reading_goes_on_from_an_offset(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append("trial_asked", trial=0)
    [(_, offset)] = list(log.read_from(0))
    log.append("trial_asked", trial=1)
    assert [event.trial for event, _ in log.read_from(offset)] == [1]
    assert list(EventLog(tmp_path / "none.jsonl").read_from(0)) == []


def test_a_line_that_the_system_takes_in_parts_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is filling up takes what fits and says how much that was."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:7]))
    log = EventLog(tmp_path / "events.jsonl")
    log.append("trial_asked", trial=0)
    log.append("trial_asked", trial=1)
    assert [event.trial for event in log.read()] == [0, 1]
