"""Every file of a storage damaged in every way, and the sweep run again. Oracle: the same sweep undisturbed.

The records are removed first, so that every trial runs again and uses what the stages left. A damaged file is made
again, or refused by name: never used, and never a trial that fails for it. No Ray here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.comparing import differences, events
from tests.faults.recorded_sweep import run
from unlearn_sweep.engine.store.damaged import DamagedFileError


def _flipped(data: bytes) -> bytes:
    """One bit of the middle byte; of stage.json the first digit of a number, since a last digit may change nothing."""
    mark = b'"seconds": '
    place = data.index(mark) + len(mark) if mark in data[:2000] else len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "noise": lambda data: b"\xcd\xff\x01x",
    "longer": lambda data: data + b"\x00\x01",
    "flipped": _flipped,
}
pytestmark = pytest.mark.faults
STAGES = ("evaluate", "attack:prefill0", "attack:quantize1")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("undisturbed")
    run(str(storage))
    return storage


@pytest.fixture
def copy(undisturbed: Path, tmp_path: Path) -> Path:
    """The storage with every stage, and the sweep with no record: all trials run again."""
    storage = tmp_path / "storage"
    shutil.copytree(undisturbed, storage)
    for path in (storage / "sweep" / "trials").iterdir():
        path.unlink()
    return storage


def _key(storage: Path, stage: str, *, of_trial: bool) -> str:
    """The first stage of this name: a control's, or a trial's."""
    return next(
        event["stage_key"]
        for event in events(storage / "sweep")
        if event["event"] == "stage_finished" and event["stage"] == stage and ("trial" in event) == of_trial
    )


def _said(storage: Path, path: Path) -> bool:
    """Whether some event names the file."""
    return any(str(path) in (event.get("reason") or "") for event in events(storage / "sweep"))


def _check(storage: Path, undisturbed: Path, damaged: Path, how: str) -> None:
    before = damaged.read_bytes()
    damaged.write_bytes(CONTENTS[how](before))
    assert damaged.read_bytes() != before
    run(str(storage))
    assert differences(storage / "sweep", undisturbed / "sweep") == []
    assert _said(storage, damaged)


@pytest.mark.parametrize("how", list(CONTENTS))
@pytest.mark.parametrize("file", ["stage.json", "rows.parquet"])
@pytest.mark.parametrize(("stage", "of_trial"), [*((name, True) for name in STAGES), ("evaluate", False)])
def test_a_damaged_stage_runs_again(
    copy: Path, undisturbed: Path, stage: str, of_trial: bool, file: str, how: str
) -> None:
    folder = copy / "store" / "stages" / _key(copy, stage, of_trial=of_trial)
    _check(copy, undisturbed, folder / file, how)


@pytest.mark.parametrize("how", list(CONTENTS))
def test_damaged_weights_are_trained_again(copy: Path, undisturbed: Path, how: str) -> None:
    key = next(path.name for path in sorted((copy / "store" / "models").iterdir()))
    _check(copy, undisturbed, copy / "store" / "models" / key / "recorded.json", how)


def test_weights_that_lack_a_file_are_trained_again(copy: Path, undisturbed: Path) -> None:
    model = next(iter(sorted((copy / "store" / "models").iterdir())))
    (model / "recorded.json").unlink()
    run(str(copy))
    assert differences(copy / "sweep", undisturbed / "sweep") == []
    assert _said(copy, model / "recorded.json")


@pytest.mark.parametrize("how", list(CONTENTS))
def test_a_damaged_record_is_made_again(undisturbed: Path, tmp_path: Path, how: str) -> None:
    shutil.copytree(undisturbed, tmp_path / "storage")
    _check(tmp_path / "storage", undisturbed, tmp_path / "storage" / "sweep" / "trials" / "0.json", how)


@pytest.mark.parametrize("how", [how for how in CONTENTS if how != "longer"])
def test_a_damaged_journal_is_made_again(undisturbed: Path, tmp_path: Path, how: str) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(undisturbed, storage)
    (storage / "sweep" / "study.journal").write_bytes(CONTENTS[how]((storage / "sweep" / "study.journal").read_bytes()))
    run(str(storage))
    assert differences(storage / "sweep", undisturbed / "sweep") == []


@pytest.mark.parametrize("name", ["progress.json", "events.jsonl", "in_use/0", "attempts/0"])
@pytest.mark.parametrize("how", list(CONTENTS))
def test_what_is_only_a_view_or_a_count_is_no_obstacle(copy: Path, undisturbed: Path, name: str, how: str) -> None:
    path = copy / "sweep" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(CONTENTS[how](path.read_bytes() if path.exists() else b"12345678"))
    run(str(copy))
    assert differences(copy / "sweep", undisturbed / "sweep") == []
    front = json.loads((copy / "sweep" / "progress.json").read_text())["front"]
    assert front == json.loads((undisturbed / "sweep" / "progress.json").read_text())["front"]


@pytest.mark.parametrize("how", [how for how in CONTENTS if how not in ("longer", "flipped")])
def test_a_damaged_lock_file_is_refused_and_nothing_is_touched(undisturbed: Path, tmp_path: Path, how: str) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(undisturbed, storage)
    lock = storage / "sweep" / "spec.lock.yaml"
    lock.write_bytes(CONTENTS[how](lock.read_bytes()))
    before = {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()}
    with pytest.raises(DamagedFileError, match=r"spec\.lock\.yaml is damaged"):
        run(str(storage))
    assert {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()} == before
