"""Where a start happened. Oracles: git itself in a repository made here, and the process's own command line."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from unlearn_sweep.engine.store.origin import Origin, commit_of, this_origin
from unlearn_sweep.engine.store.starts import Starts, read_starts


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_gits_and_says_whether_files_differ(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    assert commit_of(code) is None
    git(tmp_path, "init", "-q")
    assert commit_of(code) is None
    (code / "a.py").write_text("1")
    git(tmp_path, "add", "code/a.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(code) == head
    (code / "untracked.py").write_text("1")
    assert commit_of(code) == head
    (code / "a.py").write_text("2")
    assert commit_of(code) == f"{head}+changes"
    other = tmp_path / "env"
    other.mkdir()
    (other / "b.py").write_text("1")
    assert commit_of(other) is None


def test_a_start_keeps_command_and_machine_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_correcthorsebatterystaple")
    monkeypatch.setattr(sys, "argv", ["/some/bin/unlearn-sweep", "run", "a b.yaml", "hf_correcthorsebatterystaple"])
    origin = this_origin()
    words = shlex.split(origin.command)
    assert words[:3] == ["unlearn-sweep", "run", "a b.yaml"]
    assert "correcthorse" not in origin.command
    assert origin.cpus >= 1
    assert origin.memory_gib > 0.1
    assert "Python 3." in origin.system


def test_the_lock_file_keeps_the_origin_and_older_ones_have_none() -> None:
    made = Starts().with_one_more({"module": "digest"})
    read = read_starts(made.for_lock_file())
    assert read == made
    assert isinstance(read.all[0].origin, Origin)
    old = made.for_lock_file()
    del old["starts"][0]["origin"]
    assert read_starts(old).all[0].origin is None
