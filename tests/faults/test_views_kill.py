"""write-views killed half way goes on without paying twice. Oracle: the server's count, and the answers on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.evaluators.judge.server import Endpoint, Reply, serving
from tests.faults.processes import wait_until
from tests.support.written_views import USAGE, good_text, lines_of
from tests.sweeps.views.test_write_views import sweep_file

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
KILLED_AFTER = 60


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    def slow(row: dict[str, str], before: int) -> Reply:
        time.sleep(0.05)
        return Reply(text=good_text(row["response"]), usage=USAGE)

    with serving(slow) as found:
        yield found


def start(file: Path, endpoint: Endpoint) -> subprocess.Popen[bytes]:
    named = {"UNLEARN_SWEEP_WRITER_URL": endpoint.url, "UNLEARN_SWEEP_WRITER_MODEL": "writer-2025-01-01"}
    command = [sys.executable, "-m", "unlearn_sweep.sweeps.cli", "write-views", str(file)]
    return subprocess.Popen(command, env={**os.environ, **named}, stdout=subprocess.DEVNULL)


def answers(folder: Path) -> int:
    return len(list((folder / "runs" / "views" / "answers").glob("*/*.json")))


def test_a_kill_costs_only_the_calls_that_were_under_way(tmp_path: Path, endpoint: Endpoint) -> None:
    """8 rows of 6 wordings and 20 wrong answers: 208 texts, one call each."""
    file = sweep_file(tmp_path, views="[{paraphrase: {number: 6}}, {alternate_answer: {number: 20}}]")
    process = start(file, endpoint)
    try:
        assert wait_until(lambda: answers(tmp_path) >= KILLED_AFTER, 120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.5)  # calls under way reach the server's count
    kept, calls = answers(tmp_path), endpoint.calls
    assert KILLED_AFTER <= kept < 208
    assert calls - kept <= 8, "no more than the calls of one moment are lost"
    assert start(file, endpoint).wait(200) == 0
    assert endpoint.calls - calls == 208 - kept
    found = [lines_of(path) for path in sorted((tmp_path / "runs" / "views").glob("*.parquet"))]
    assert [sum(line["answer"] is not None for line in lines) for lines in found] == [160, 48]
