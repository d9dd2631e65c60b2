"""Stages that take too long, over real Ray: a training in a worker process, and one in a workbench, whose limit
is that of every measurement and attack.

Oracle: the trial's record names stage and limit, in little more time than that, and nothing is tried again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import SweepRun, write_sweep
from tests.faults.conftest import RUN_S, copy_preparation

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
LIMIT_S = 12
ENDLESS = 100_000


def _sweep(folder: Path, prepared: SweepRun, training: str, old: str, new: str) -> SweepRun:
    """One trial, from a finished preparation: what is over its time here is a stage of the trial."""
    copy_preparation(prepared, folder)
    sweep = write_sweep(folder, "sweep", trials=1, training=training, at_once=1)
    text = sweep.file.read_text()
    assert old in text
    text = text.replace("npo: ", "# npo: ").replace("{log: [1e-4, 3e-3]}", "1e-7")
    sweep.file.write_text(f"{text.replace(old, new)}stage_timeout_s: {LIMIT_S}\n")
    return sweep


@pytest.mark.parametrize("training", ["workers: 1", "workers: 0"])
def test_a_training_over_its_time_is_a_failed_trial(tmp_path: Path, undisturbed: SweepRun, training: str) -> None:
    sweep = _sweep(tmp_path, undisturbed, training, "training: {epochs: 3,", f"training: {{epochs: {ENDLESS},")
    sweep.run(timeout_s=RUN_S)
    _check(sweep, "unlearn")


def _check(sweep: SweepRun, stage: str) -> None:
    record = sweep.trials()[0]
    assert (record["state"], record["failed_stage"]) == ("failed", stage)
    assert record["reason"] == f"TimeoutError: ran longer than stage_timeout_s = {LIMIT_S}"
    mine = [event for event in sweep.events() if event.get("trial") == 0 and event.get("stage") == stage]
    assert [event["event"] for event in mine] == ["stage_started", "stage_failed"]
    assert LIMIT_S <= mine[1]["seconds"] < LIMIT_S + 60
