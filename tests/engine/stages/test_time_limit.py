"""The time limit of stages in this process. Oracle: the clock, and how a process of its own ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.runner import StageFailedError, StageRunner
from unlearn_sweep.engine.stages.time_limit import time_limited
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import AttackOutcome
from unlearn_sweep.engine.store.stages import StageRequest, StageStore


class Endless:
    """A workbench whose attack never ends."""

    def attack(self, request: Any) -> AttackOutcome:
        while True:
            time.sleep(0.01)

    def close(self) -> None:
        self.closed = True


def test_a_stage_over_its_time_is_a_failed_one_and_the_workbench_is_new(tmp_path: Path) -> None:
    executor = InProcessExecutor(timeout_s=0.3)
    stuck = executor._workbench = Endless()  # pyright: ignore[reportAttributeAccessIssue]
    runner = StageRunner(StageStore(tmp_path), EventLog(tmp_path / "events.jsonl"))
    request = StageRequest(stage="attack:gcg", inputs={}, outcome=AttackOutcome)
    began = time.monotonic()
    with pytest.raises(StageFailedError, match=r"ran longer than stage_timeout_s = 0\.3"):
        runner.run(request, lambda folder: executor.attack(None))  # pyright: ignore[reportArgumentType]
    assert 0.3 <= time.monotonic() - began < 10
    assert executor._workbench is not stuck
    assert stuck.closed
    assert EventLog(tmp_path / "events.jsonl").read()[-1].event == "stage_failed"


def test_a_block_within_its_time_is_left_alone_and_nothing_stays_behind() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    with time_limited(0.2):
        pass
    time.sleep(0.3)
    with time_limited(None):
        pass
    assert signal.getsignal(signal.SIGUSR2) is before


def test_what_the_error_does_not_end_ends_with_its_process() -> None:
    code = (
        "import time\n"
        "from unlearn_sweep.engine.stages import time_limit\n"
        "time_limit.LAST_RESORT_S = 0.5\n"
        "with time_limit.time_limited(0.2):\n"
        "    while True:\n"
        "        try:\n"
        "            time.sleep(0.05)\n"
        "        except TimeoutError:\n"
        "            pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ran longer than stage_timeout_s = 0.2 and cannot be interrupted" in done.stderr
    assert "Traceback" not in done.stderr
