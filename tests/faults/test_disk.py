"""A disk that is full, a log torn in its last line, a clock that somebody sets. Oracle: the same sweep undisturbed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SweepRun
from tests.faults.comparing import differences, events, finished_stages, left_behind, results
from tests.faults.recorded_sweep import run
from unlearn_sweep.engine.store.snapshot import read_snapshot
from unlearn_sweep.sweeps.report.status import status


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not _can_mount(), reason="no mount namespaces for this user: unshare -rm is refused")


@pytest.fixture(scope="module")
def undisturbed_recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("undisturbed")
    run(str(storage))
    return storage


def _on_a_full_disk(tmp_path: Path, kind: str, lines: int) -> tuple[dict[str, Any], Path]:
    """What `tests.faults.full_disk` says, and a copy of what its disk held in the end."""
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    command = [sys.executable, "-m", "tests.faults.full_disk", kind, str(disk), str(out), str(lines)]
    done = subprocess.run(["unshare", "-rm", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(disk.iterdir()) == []  # the mount was that process's alone
    return json.loads(done.stdout.splitlines()[-1]), out


def _check(storage: Path, undisturbed: Path) -> None:
    assert differences(storage / "sweep", undisturbed / "sweep") == []
    assert set(finished_stages(storage / "sweep").values()) == {1}
    assert left_behind(storage / "sweep", storage) == []


@needs_mount
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_disk_that_fills_up_settles_nothing_and_loses_nothing(tmp_path: Path, undisturbed_recorded: Path) -> None:
    """Filled at five places of the sweep: what was about to be written fails, in the middle of a line too."""
    stopped = 0
    for lines in range(2, len(events(undisturbed_recorded / "sweep")) - 4, 9):
        folder = tmp_path / str(lines)
        folder.mkdir()
        ended, storage = _on_a_full_disk(folder, "recorded", lines)
        stopped += ended["first"] != 0
        assert "failed" not in ended["states"]
        _check(storage, undisturbed_recorded)
    assert stopped >= 4


@needs_mount
@pytest.mark.faults
@pytest.mark.timeout(3000)
def test_a_full_disk_ends_a_sweep_over_ray_in_plain_words(tmp_path: Path, undisturbed: SweepRun) -> None:
    began = [event["event"] for event in events(undisturbed.directory)].index("trial_started")
    ended, storage = _on_a_full_disk(tmp_path, "ray", began + 1)
    assert ended["first"] == 1, ended["output"]
    assert "the disk is full" in ended["output"]
    assert "rerun the same command" in ended["output"]
    assert "Traceback" not in ended["output"]
    assert "failed" not in ended["states"]
    assert differences(storage / "sweep", undisturbed.directory) == []


def test_lines_torn_at_the_end_of_log_and_journal_are_passed_over(tmp_path: Path, undisturbed_recorded: Path) -> None:
    """What a power cut leaves: half a line at the end of both, and no settled trial behind the first."""
    storage = tmp_path / "storage"
    shutil.copytree(undisturbed_recorded, storage)
    sweep = storage / "sweep"
    for path in (sweep / "trials").glob("*.json"):
        if path.stem != "0":
            path.unlink()
    lines = (sweep / "events.jsonl").read_text().splitlines(keepends=True)
    settled = next(place for place, line in enumerate(lines) if '"trial_settled"' in line)
    (sweep / "events.jsonl").write_text("".join(lines[: settled + 1]) + lines[settled + 1][:17])
    journal = (sweep / "study.journal").read_bytes().splitlines(keepends=True)
    (sweep / "study.journal").write_bytes(b"".join(journal[: len(journal) // 2]) + journal[len(journal) // 2][:9])
    run(str(storage))
    assert differences(sweep, undisturbed_recorded / "sweep") == []
    assert left_behind(sweep, storage) == []
    assert read_snapshot(sweep).unreadable == {}


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0, 3.2e8])
def test_a_clock_that_jumps_changes_no_result_and_no_length(
    tmp_path: Path, undisturbed_recorded: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """The clock on the wall only stamps; what is waited for, limited and counted goes by the monotonic one.

    Every second look at it is a day (or ten years) off, as while two time servers disagree.
    """
    true, looks = time.time, [0]

    def jumping() -> float:
        looks[0] += 1
        return true() + (jump if looks[0] % 2 else 0.0)

    monkeypatch.setattr(time, "time", jumping)
    run(str(tmp_path))
    monkeypatch.undo()
    assert looks[0] > 40
    _check(tmp_path, undisturbed_recorded)
    for event in events(tmp_path / "sweep"):
        assert 0 <= event.get("seconds", 0) < 60, event
    for record in results(tmp_path / "sweep").values():
        assert record["state"] == "complete"
    seen = status(tmp_path / "sweep")
    assert seen["settled"] == 3
    assert min(value for value in seen["time"].values() if value is not None) >= 0
