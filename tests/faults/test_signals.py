"""Real signals to a real sweep's driver. Oracle: the shell's exit statuses, the event log, and the process table."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import SweepRun, write_sweep
from tests.faults.processes import alive, below, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
ENDS_S = 20.0
"""From the signal to the end of the process. Measured: 2 to 4 s; a machine with other work takes longer."""


def _happened(sweep: SweepRun, event: str, stage: str | None = None) -> bool:
    if not (sweep.directory / "events.jsonl").exists():
        return False
    return any(found["event"] == event and stage in (None, found.get("stage")) for found in sweep.events())


def _stop(sweep: SweepRun, process: subprocess.Popen[str], number: signal.Signals, *times: float) -> None:
    """Send the signal, again after each of `times`, and check the end."""
    family, began = below(process.pid), time.monotonic()
    process.send_signal(number)
    for pause_s in times:
        time.sleep(pause_s)
        process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < ENDS_S
    assert process.returncode == 128 + number, output
    assert f"stopped by {number.name}; finished work is kept" in output
    assert "Traceback" not in output
    assert "received at time" not in output  # the stack trace of Ray's own handler
    last = sweep.events()[-1]
    assert (last["event"], last["reason"]) == ("sweep_stopped", f"stopped by {number.name}")
    assert not [found for found in sweep.events() if found["event"] in ("stage_failed", "stage_lost", "trial_lost")]
    assert wait_until(lambda: not alive(family), 10)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_preparation_ends_it_in_seconds(tmp_path: Path, number: signal.Signals) -> None:
    """Trainings of minutes: waiting for them would be seen, and so would one that starts afterwards."""
    sweep = write_sweep(tmp_path, "sweep", trials=2, training="workers: 0", at_once=2)
    sweep.file.write_text(sweep.file.read_text().replace("epochs: 40", "epochs: 20000"))
    process = sweep.start()
    assert wait_until(lambda: _happened(sweep, "stage_started", "prepare:original"), 200)
    time.sleep(3)
    _stop(sweep, process, number)


def test_two_signals_in_quick_order_are_one(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, "sweep", trials=2, training="workers: 0", at_once=2)
    sweep.file.write_text(sweep.file.read_text().replace("epochs: 40", "epochs: 20000"))
    process = sweep.start()
    assert wait_until(lambda: _happened(sweep, "stage_started", "prepare:original"), 200)
    _stop(sweep, process, signal.SIGINT, 0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_in_a_trial_ends_the_sweep_and_the_command_goes_on(storage: Path, number: signal.Signals) -> None:
    """MLflow has the sweep as it stopped, and the same command finishes it."""
    sweep = write_sweep(storage, number.name, trials=2, training="workers: 0", at_once=1, mlflow="auto")
    process = sweep.start()
    assert wait_until(lambda: _happened(sweep, "trial_started"), 400)
    _stop(sweep, process, number)
    if number == signal.SIGTERM:
        sweep.run(timeout_s=300)
        assert {trial["state"] for trial in sweep.trials().values()} <= {"complete", "collapsed"}
        assert len(sweep.trials()) == 2
        assert sweep.events()[-1]["event"] == "sweep_finished"
