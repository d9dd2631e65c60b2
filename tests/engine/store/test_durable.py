"""Oracle: the file system itself, and a real SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unlearn_sweep.engine.store import durable


def test_write_replaces_whole_file_and_leaves_no_scratch(tmp_path: Path) -> None:
    target = tmp_path / "a" / "x.json"
    durable.write_json(target, {"n": 1})
    durable.write_json(target, {"n": 2})
    assert target.read_text() == '{\n "n": 2\n}\n'
    assert [path.name for path in target.parent.iterdir()] == ["x.json"]


def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    durable.write_json(target, {"n": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        durable.write_json(target, {"n": float("nan")})
    assert target.read_text() == '{\n "n": 1\n}\n'


def test_new_folder_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "stage"

    def fail_half_way() -> None:
        with durable.new_folder(target) as scratch:
            (scratch / "part").write_text("1")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []
    with durable.new_folder(target) as scratch:
        (scratch / "part").write_text("1")
        assert not target.exists()
    assert (target / "part").read_text() == "1"


def test_new_folder_keeps_what_somebody_else_finished_first(tmp_path: Path) -> None:
    target = tmp_path / "stage"
    with durable.new_folder(target) as mine:
        (mine / "who").write_text("second")
        with durable.new_folder(target) as theirs:
            (theirs / "who").write_text("first")
    assert (target / "who").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]


def test_lock_names_its_holder_and_ends_with_a_kill(tmp_path: Path) -> None:
    lock = tmp_path / "driver.lock"
    script = (
        "import sys, time; from pathlib import Path; from unlearn_sweep.engine.store import durable\n"
        "with durable.file_lock(Path(sys.argv[1]), holder='the other one'):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(durable.LockedElsewhereError, match="the other one"), durable.file_lock(lock, wait=False):
        pass
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            with durable.file_lock(lock, wait=False):
                return
        except durable.LockedElsewhereError:
            time.sleep(0.05)
    pytest.fail("the lock of a killed process was still held after 5 s")
