"""SIGKILL behind every single event of a sweep, and inside what comes next. Oracle: the same sweep undisturbed.

No Ray here: the process that dies is driver, trial and workbench in one. A few boundaries are killed in the default
run, all of them by `make faults`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tests.faults.comparing import differences, events, finished_stages, left_behind, results, reused_stages
from tests.faults.recorded_sweep import run

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["tests.faults.recorded_sweep", "pandas", "pyarrow.parquet", "unlearn_sweep.evaluators.objectives.robustness"]
)
SHORT = 6
LATEST_S = 0.02
"""How long after an event the kill comes at most: about as long as the longest of these stages."""


def _start(storage: Path) -> ForkServerProcess:
    process = CONTEXT.Process(target=run, args=(str(storage),))
    process.start()
    return process


def _kill_behind(storage: Path, lines: int, delay_s: float) -> bool:
    """Run until the log has so many lines, and kill. False where the sweep came to its end before."""
    log, process = storage / "sweep" / "events.jsonl", _start(storage)
    while process.is_alive():
        if log.exists() and log.read_bytes().count(b"\n") >= lines:
            time.sleep(delay_s)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            break
    process.join()
    return process.exitcode == -signal.SIGKILL


def _finish(storage: Path) -> None:
    process = _start(storage)
    process.join(timeout=240)
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("undisturbed")
    _finish(storage)
    return storage


def _check(storage: Path, undisturbed: Path) -> None:
    """Same records; nothing finished twice; one settling of each trial; nothing left over."""
    mine, theirs = storage / "sweep", undisturbed / "sweep"
    assert differences(mine, theirs) == []
    assert max(finished_stages(mine).values()) == 1
    # Killed between a stage's result and its event, a stage has no event of its end: its successor finds it finished.
    assert set(finished_stages(mine)) | reused_stages(mine) == set(finished_stages(theirs))
    assert sorted(path.name for path in (storage / "store" / "models").iterdir()) == sorted(
        path.name for path in (undisturbed / "store" / "models").iterdir()
    )
    assert left_behind(mine, storage) == []
    settled = [event["trial"] for event in events(mine) if event["event"] == "trial_settled"]
    assert sorted(settled) == sorted(results(theirs))
    assert (
        json.loads((mine / "progress.json").read_text())["front"]
        == json.loads((theirs / "progress.json").read_text())["front"]
    )


def test_the_sweep_is_as_planned(undisturbed: Path) -> None:
    """Else the kills below would test less than they say."""
    records = results(undisturbed / "sweep")
    assert [len(records[number]["seeds"]) for number in sorted(records)].count(1) == 2
    assert any(score["skipped"] for record in records.values() for score in record["attacks"])
    assert len(events(undisturbed / "sweep")) >= 40


@pytest.mark.parametrize("share", [place / SHORT for place in range(SHORT)])
def test_a_kill_at_some_boundaries_changes_nothing(tmp_path: Path, undisturbed: Path, share: float) -> None:
    lines = 1 + int(share * len(events(undisturbed / "sweep")))
    assert _kill_behind(tmp_path, lines, 0.0)
    _finish(tmp_path)
    _check(tmp_path, undisturbed)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_kill_at_every_boundary_and_inside_every_stage_changes_nothing(tmp_path: Path, undisturbed: Path) -> None:
    kills, draw = 0, random.Random(0)
    for lines in range(1, len(events(undisturbed / "sweep"))):
        storage = tmp_path / str(lines)
        kills += _kill_behind(storage, lines, draw.choice([0.0, draw.uniform(0, LATEST_S)]))
        _finish(storage)
        _check(storage, undisturbed)
    assert kills >= 40


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_one_sweep_killed_again_and_again_comes_to_the_same_end(tmp_path: Path, undisturbed: Path) -> None:
    """Each run gets a little further: killed two events behind what it does again, until none is left to kill."""
    again = [event["event"] for event in events(undisturbed / "sweep")].index("trial_asked")
    kills, draw = 0, random.Random(1)
    while _kill_behind(tmp_path, len(events(tmp_path / "sweep")) + again + 2, draw.uniform(0, LATEST_S)):
        kills += 1
        assert kills < 60
    _finish(tmp_path)
    assert kills >= 6
    _check(tmp_path, undisturbed)
