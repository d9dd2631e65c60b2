"""Every call of our program in README and docs/, run as it is written. Oracle: its exit status.

What starts Ray, asks a hub or trains is run by the test that `RUN_BY` names; the tutorial is run whole by
tests/e2e/test_tutorial.py.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.answered_sweep import write_answered_sweep
from tests.support.plugin_text import METHOD
from tests.sweeps.report.written_sweep import mixed_trials, write_sweep
from tests.sweeps.sweep_text import sweep_text
from tests.sweeps.test_docs_pages import CALLS
from unlearn_sweep import plugins
from unlearn_sweep.sweeps.cli import app

RUN_BY: Mapping[str, str] = {
    "audit": "tests/sweeps/test_audit.py",
    "calibrate": "tests/sweeps/test_calibrate.py",
    "compare-paper": "tests/sweeps/paper/test_paper_files.py",
    "check-plugin": "tests/sweeps/test_check_plugin.py",
    "doctor": "tests/sweeps/test_cli.py",
    "enqueue": "tests/sweeps/test_enqueue_command.py",
    "export": "tests/e2e/test_code_and_weights.py",
    "rescore": "tests/e2e/test_rescore_command.py",
    "run": "tests/e2e/test_tutorial.py",
    "serve": "tests/sweeps/test_docs_commands.py",
    "write-views": "tests/sweeps/views/test_write_views.py",
}
ENDED_BY_THE_MACHINE = {"plan"}
"""A plan that does not fit this machine, its disk for example, ends with status 2 as well and says so."""
WORDS = {"DIR": "runs/demo", "FILE": "sweep.yaml", "TRIAL": "0", "N": "2", "NAME": "npo", "OUT": "out"}
SWEEP = {"runs/quickstart": "runs/demo", "runs/tutorial": "runs/demo", "runs/my-sweep": "runs/demo"}
GIVEN = {
    " ".join(words): page for page, words in CALLS if len(words) > 1 or words[0] in ("status", "methods", "papers")
}
RUN_HERE = {call: page for call, page in GIVEN.items() if call.split()[0] not in RUN_BY}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it: the shipped sweep files, one of their own, a plugin, and two sweeps that ran."""
    folder = tmp_path_factory.mktemp("reader")
    write_answered_sweep(folder / "runs" / "demo")
    write_sweep(folder / "runs" / "other", mixed_trials(3))
    (folder / "sweeps").symlink_to(Path("sweeps").resolve())
    (folder / "sweep.yaml").write_text(sweep_text())
    (folder / "plugin.py").write_text(METHOD)
    return folder


def arguments(call: str) -> Iterator[str]:
    """The words of a call with the places of the page filled in."""
    words = call.split()
    for before, word in zip(["", *words], words, strict=False):
        if word == "...":
            continue
        if before == "DIR" and word == "DIR":
            yield "runs/other"
        elif before == "--plugin":
            yield "plugin.py"
        elif words[0] == "example" and word.endswith("NAME"):
            yield word.replace("NAME", "gao") if "/" in word else "quickstart"
        else:
            yield SWEEP.get(word, WORDS.get(word, word))


@pytest.mark.parametrize(
    "call", [pytest.param(call, marks=[pytest.mark.slow] * call.startswith("sync")) for call in RUN_HERE], ids=str
)
def test_a_call_of_the_pages_runs(call: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    try:
        done = CliRunner().invoke(app, list(arguments(call)))
    finally:
        plugins.use(())
    allowed = {0, 2} if call.split()[0] in ENDED_BY_THE_MACHINE else {0}
    assert done.exit_code in allowed, f"{RUN_HERE[call]}: {call}\n{done.output}"
    assert done.exit_code == 0 or "cannot run: " in done.output


def test_other_commands_are_run_by_the_tests_named_here() -> None:
    for command, path in RUN_BY.items():
        assert re.search(rf"[\"' ]{command}[\"' ]", Path(path).read_text(encoding="utf-8")), f"{path}: {command}"


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["runs"], ["runs/demo"]], ids=" ".join)
def test_serve_serves(words: list[str], folder: Path) -> None:
    command = [sys.executable, "-m", "unlearn_sweep.sweeps.cli", "serve", *words, "--port", "0"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with urllib.request.urlopen(address, timeout=20) as reply:
            assert "demo" in reply.read().decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
