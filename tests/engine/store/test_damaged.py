"""Oracle: what was on disk before, and the names of the files that are left."""

from __future__ import annotations

import getpass
import json
import re
from pathlib import Path

import pytest

from tests.support.sweep_folder import trial, write_sweep
from unlearn_sweep.engine.store.damaged import (
    DamagedFileError,
    read_lock_file,
    set_aside,
    set_records_aside,
    trial_files,
    whole_records,
)
from unlearn_sweep.engine.store.holder import holder_line
from unlearn_sweep.engine.store.snapshot import read_snapshot


def _unsealed(data: bytes) -> bytes:
    return re.sub(rb'"seal": "[0-9a-f]+"', b'"seal": null', data)


DAMAGES = {
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "noise": lambda data: b"\xcd\xff\x01x",
    "another record": lambda data: data.replace(b'"number": 1,', b'"number": 2,', 1),
    "a digit": lambda data: data.replace(b'"ut": 0.89', b'"ut": 0.99', 1),
    "infinite": lambda data: _unsealed(data.replace(b'"ut": 0.89', b'"ut": 1e999', 1)),
    "infinite inside": lambda data: _unsealed(data.replace(b'"params": {', b'"params": {"rate": -1e999,', 1)),
    "deep": lambda data: b"[" * 100_000,
    "list": lambda data: b"[1, 2]",
}


@pytest.mark.parametrize("how", list(DAMAGES))
def test_a_damaged_record_is_renamed_and_named(tmp_path: Path, how: str) -> None:
    sweep = write_sweep(tmp_path / "sweep", [trial(0), trial(1)])
    path = sweep / "trials" / "1.json"
    path.write_text(trial(1).sealed().model_dump_json(indent=1))
    content = DAMAGES[how](path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content)
    damaged: list[DamagedFileError] = []
    assert [record.number for record in whole_records(sweep, damaged)] == [0]
    assert path.exists()  # reading changes no file
    notices = set_records_aside(damaged)
    (notice,) = notices
    assert str(path) in notice
    assert "trial 1 runs again" in notice
    assert (sweep / "trials" / "1.json.damaged").read_bytes() == content
    assert [number for number, _ in trial_files(sweep)] == [0]


def test_nothing_that_was_set_aside_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    names = []
    for _ in range(3):
        path.write_text("x")
        names.append(set_aside(path).name)
    assert names == ["1.json.damaged", "1.json.damaged-2", "1.json.damaged-3"]


LOCKS = {"empty": b"", "zeroed": bytes(400), "noise": b"\xcd\xff\x01x", "list": b"[1, 2]", "cut": b"job: {name: a}\n"}


@pytest.mark.parametrize("how", list(LOCKS))
def test_a_damaged_lock_file_is_refused_by_name_and_views_go_without(tmp_path: Path, how: str) -> None:
    sweep = write_sweep(tmp_path / "sweep", [trial(0)])
    (sweep / "spec.lock.yaml").write_bytes(LOCKS[how])
    with pytest.raises(DamagedFileError, match=r"spec\.lock\.yaml is damaged .* move it away"):
        read_lock_file(sweep / "spec.lock.yaml")
    snapshot = read_snapshot(sweep)
    assert len(snapshot.trials) == 1
    if how in ("zeroed", "noise", "list"):
        assert "spec.lock.yaml" in snapshot.unreadable


def test_no_lock_file_is_no_damage(tmp_path: Path) -> None:
    assert read_lock_file(tmp_path / "spec.lock.yaml") == {}


def test_a_user_without_a_name_is_named_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert " of user 12345 on " in holder_line()


def test_a_record_that_is_whole_is_left_as_it_is(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", [trial(0)])
    before = json.loads((sweep / "trials" / "0.json").read_text())
    damaged: list[DamagedFileError] = []
    (record,) = whole_records(sweep, damaged)
    assert (json.loads(record.model_dump_json()), damaged) == (before, [])
