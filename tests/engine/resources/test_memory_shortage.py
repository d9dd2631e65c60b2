"""Memory that gives out. Oracles: errors that torch, Python and the system really raise; a brute force over who was in
the room when; a store of memory that is counted.
"""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.outcomes import measured
from unlearn_sweep.engine.out_of_memory import says_out_of_memory, shortage_message
from unlearn_sweep.engine.process_lost import ProcessLostError
from unlearn_sweep.engine.resources.memory_shortage import ExclusiveStageLock
from unlearn_sweep.engine.stages.runner import StageFailedError, StageRunner
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import MeasureOutcome
from unlearn_sweep.engine.store.stages import StageRequest, StageStore

TOO_MUCH = 10**15
SIGKILL_TOLD = (
    "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the "
    "process was killed by the OOM killer due to high memory usage, (2) ray stop --force was called"
)


def _raised(work: Callable[[], Any]) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("work", [lambda: torch.empty(TOO_MUCH), lambda: bytearray(TOO_MUCH)], ids=["torch", "python"])
def test_what_is_really_raised_is_known_and_told_in_one_line(work: Callable[[], Any]) -> None:
    error = _raised(work)
    assert says_out_of_memory(error)
    assert says_out_of_memory(ProcessLostError(f"{type(error).__name__}: {error}"))
    assert "\n" not in (shortage_message(error) or "\n")


@pytest.mark.parametrize(
    ("problem", "known"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), True),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        (RuntimeError("loss is NaN"), False),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), False),
        (ProcessLostError(SIGKILL_TOLD), False),  # what Ray guesses of every process that was killed
        (None, False),
    ],
)
def test_other_errors_are_told_apart(problem: BaseException | str | None, known: bool) -> None:
    assert says_out_of_memory(problem) is known


# --- the room ---------------------------------------------------------------------------------------------------------


def test_nobody_is_in_the_room_beside_one_who_is_alone(tmp_path: Path) -> None:
    """Brute force: six workers go in and out, each with a lock file of its own; all pairs of stays are compared."""
    stays: list[tuple[float, float, bool]] = []
    cleared: list[float] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        stage_lock = ExclusiveStageLock(tmp_path, lambda: cleared.append(time.monotonic()))
        for _ in range(25):
            alone = chance.random() < 0.2
            with stage_lock.enter(alone=alone):
                began = time.monotonic()
                time.sleep(chance.random() * 0.004)
                stays.append((began, time.monotonic(), alone))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = [stay for stay in stays if stay[2]]
    assert len(stays) == 150
    assert len(cleared) == len(alone) > 5
    for one in alone:
        assert sum(began < one[1] and one[0] < ended for began, ended, _ in stays) == 1  # itself
    together = sorted(stay for stay in stays if not stay[2])
    assert any(later[0] < earlier[1] for earlier, later in itertools.pairwise(together))


def test_a_stage_within_a_stage_is_in_the_room_already(tmp_path: Path) -> None:
    stage_lock = ExclusiveStageLock(tmp_path)
    for alone in (False, True):
        with stage_lock.enter(alone=alone), stage_lock.enter():
            pass
    with ExclusiveStageLock(tmp_path).enter(alone=True):  # and it is left for good
        pass


def _stay(sweep: Path, alone: bool, there: Any) -> None:
    with ExclusiveStageLock(sweep).enter(alone=alone):
        there.set()
        time.sleep(60)


@pytest.mark.parametrize("alone", [False, True])
def test_a_killed_worker_is_out_of_the_room(tmp_path: Path, alone: bool) -> None:
    context = multiprocessing.get_context("spawn")
    there = context.Event()
    process = context.Process(target=_stay, args=(tmp_path, alone, there))
    process.start()
    assert there.wait(60)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with ExclusiveStageLock(tmp_path).enter(alone=True):
        pass


# --- stages -----------------------------------------------------------------------------------------------------------


class Memory:
    """So much memory, and no more: who asks for what is not there gets a MemoryError."""

    def __init__(self, size: int) -> None:
        self.left = size
        self._lock = threading.Lock()

    @contextmanager
    def of(self, amount: int) -> Iterator[None]:
        with self._lock:
            if amount > self.left:
                raise MemoryError(f"{amount} wanted, {self.left} left")
            self.left -= amount
        try:
            yield
        finally:
            with self._lock:
                self.left += amount


def _request(name: str) -> StageRequest[MeasureOutcome]:
    return StageRequest(stage="evaluate", inputs={"model": name}, outcome=MeasureOutcome)


def _runner(sweep: Path, trial: int, make_room: Callable[[], None] = lambda: None) -> StageRunner:
    stage_lock = ExclusiveStageLock(sweep, make_room)
    return StageRunner(StageStore(sweep), EventLog(sweep / "events.jsonl"), trial=trial, stage_lock=stage_lock)


def _said(sweep: Path, trial: int) -> list[str]:
    return [event.event for event in EventLog(sweep / "events.jsonl").read() if event.trial == trial]


def test_stages_that_have_not_the_memory_for_each_other_run_one_by_one(tmp_path: Path) -> None:
    """Three stages want six each of ten, at the same moment: at least two find too little, and all end well."""
    memory, begin = Memory(10), threading.Barrier(3, timeout=30)
    tries = dict.fromkeys(range(3), 0)

    def work(trial: int) -> None:
        def compute(_: Path) -> MeasureOutcome:
            tries[trial] += 1
            if tries[trial] == 1:
                begin.wait()
            with memory.of(6):
                time.sleep(0.2)
            return measured(trial)

        assert _runner(tmp_path, trial).run(_request(str(trial)), compute).outcome(MeasureOutcome) == measured(trial)

    threads = [threading.Thread(target=work, args=(trial,)) for trial in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(tries.values()) == [1, 2, 2]
    for trial, tried in tries.items():
        lost = ["stage_started", "stage_lost"] * (tried - 1)
        assert _said(tmp_path, trial) == [*lost, "stage_started", "stage_finished"]


def test_what_is_kept_loaded_goes_before_the_stage_is_tried_alone(tmp_path: Path) -> None:
    memory, order = Memory(10), []
    loaded = memory.of(5)
    loaded.__enter__()

    def make_room() -> None:
        order.append("room made")
        loaded.__exit__(None, None, None)

    def compute(_: Path) -> MeasureOutcome:
        order.append("tried")
        with memory.of(6):
            return measured()

    _runner(tmp_path, 0, make_room).run(_request("m"), compute)
    assert order == ["tried", "room made", "tried"]


def test_a_stage_that_is_too_large_by_itself_fails_and_says_so(tmp_path: Path) -> None:
    runner, tries = _runner(tmp_path, 0), []

    def compute(_: Path) -> MeasureOutcome:
        tries.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")

    with pytest.raises(StageFailedError, match="no other stage of the sweep was running") as caught:
        runner.run(_request("m"), compute)
    assert caught.value.kind == "OutOfMemoryError"
    assert len(tries) == 2
    assert _said(tmp_path, 0) == ["stage_started", "stage_lost", "stage_started", "stage_failed"]
    (lost,) = [event for event in EventLog(tmp_path / "events.jsonl").read() if event.event == "stage_lost"]
    assert (lost.reason or "").endswith("it will be retried alone")
    assert list((tmp_path / "store" / "stages").iterdir()) == []


def test_nothing_of_the_failed_try_is_held_while_it_is_tried_again(tmp_path: Path) -> None:
    """A traceback holds what its frames hold: half a model's gradients, at the worst moment."""
    import weakref

    class Block:
        """Stands for a large tensor, which has no weak references."""

    blocks: list[weakref.ref[Block]] = []

    def compute(_: Path) -> MeasureOutcome:
        if blocks:
            assert blocks[0]() is None
            return measured()
        block = Block()
        blocks.append(weakref.ref(block))
        raise MemoryError("no more of these")

    assert _runner(tmp_path, 0).run(_request("m"), compute).outcome(MeasureOutcome) == measured()
