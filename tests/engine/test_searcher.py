"""What Tune is given when processes are lost. Oracle: counts; the director here only counts."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError
from ray.tune import TuneError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from tests.support.sweep_folder import trial
from unlearn_sweep.engine.on_ray.compress import packed, unpacked
from unlearn_sweep.engine.on_ray.search import (
    LOST_WORKER_RETRIES,
    RECORD,
    BrokerSearcher,
    FinishedTrials,
    TrialErrorLogger,
)
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.durable import DiskFullError
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord


class Counting:
    """Two trials, and what became of them."""

    def __init__(self) -> None:
        self.tasks = [TrialTask(number=n, key=f"k{n}", method="npo", params={}, seed=1) for n in range(2)]
        self.settled: list[int] = []
        self.failed: list[tuple[int, str]] = []
        self.again: list[int] = []

    def next_task(self) -> TrialTask | None:
        return self.tasks.pop(0) if self.tasks else None

    def no_more_tasks(self) -> bool:
        return not self.tasks

    def settle(self, task: TrialTask, record: TrialRecord) -> None:
        self.settled.append(task.number)

    def begun_again(self, task: TrialTask, reason: str) -> None:
        self.again.append(task.number)

    def lost(self, task: TrialTask, reason: str) -> None:
        self.failed.append((task.number, reason))


def test_a_lost_trial_comes_again_also_when_it_was_the_last(tmp_path: Path) -> None:
    director = Counting()
    searcher = BrokerSearcher(director, ["bench"], tmp_path)
    assert searcher.suggest("a")["loss"] == 0  # pyright: ignore
    assert searcher.suggest("b") is None  # one workbench
    assert TrialTask.model_validate_json((tmp_path / "0").read_bytes()).key == "k0"
    searcher.on_trial_complete("a", {RECORD: packed(trial(0))})
    assert searcher.suggest("b")["loss"] == 0  # pyright: ignore
    assert searcher.suggest("c") is None  # all are given out, but what runs may be lost
    searcher.on_trial_complete("b", error=True)
    assert not searcher.ended.is_set()
    assert searcher.suggest("c")["loss"] == 1  # pyright: ignore
    searcher.on_trial_complete("c", {RECORD: packed(trial(1))})
    assert searcher.ended.is_set()
    assert searcher.suggest("d") == Searcher.FINISHED
    assert (director.settled, director.failed, director.again) == ([0, 1], [], [1])
    assert list(tmp_path.iterdir()) == []  # no task is left


def test_a_trial_that_is_lost_again_and_again_is_given_up(tmp_path: Path) -> None:
    director = Counting()
    director.tasks = director.tasks[:1]
    searcher = BrokerSearcher(director, ["bench"], tmp_path)
    for life in range(LOST_WORKER_RETRIES + 1):
        assert searcher.suggest(str(life)) is not None
        searcher.on_trial_complete(str(life), error=True)
    assert director.failed == [(0, f"the trial's process was lost {LOST_WORKER_RETRIES + 1} times")]
    assert searcher.ended.is_set()


def test_a_parcel_holds_what_was_put_in_and_is_smaller() -> None:
    record = trial(3, params={"learning_rate": 1e-3, "beta": 0.1, "what": "\N{SNOWMAN}"})
    found = unpacked(TrialRecord, packed(record))
    assert found.model_dump_json() == record.model_dump_json()
    assert len(packed(record)) < len(record.model_dump_json()) / 2
    with pytest.raises(ValueError, match="not a packed TrialRecord"):
        unpacked(TrialRecord, "00000")


def stored(folder: Path, error: BaseException) -> Path:
    """The file in which Tune stores the error that ended a trial's process."""
    path = folder / "error.pkl"
    path.write_bytes(pickle.dumps(error))
    return path


@pytest.mark.parametrize("cause", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ValueError("a bug")])
def test_a_full_disk_of_a_trial_s_process_ends_the_search_in_plain_words(tmp_path: Path, cause: Exception) -> None:
    """Met in a fault test on a busy machine: the disk filled up while a trial wrote its first event."""
    searcher = BrokerSearcher(Counting(), ["bench"], tmp_path / "tasks")
    events = EventLog(tmp_path / "events.jsonl")
    with pytest.raises(RayTaskError) as raised:
        raise RayTaskError("train", f"Traceback ...\n{type(cause).__name__}: {cause}", cause)
    TrialErrorLogger(events, searcher.fail).log(7, stored(tmp_path, raised.value))
    full = isinstance(cause, OSError)
    assert isinstance(searcher.error, DiskFullError if full else type(None))
    assert searcher.ended.is_set() == full
    assert [event.trial for event in events.read()] == ([] if full else [7])


def test_a_full_disk_under_tune_itself_is_found_behind_its_error(tmp_path: Path) -> None:
    def fit() -> None:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise TuneError("the callback failed") from error

    searcher = BrokerSearcher(Counting(), ["bench"], tmp_path / "tasks")
    searcher.guard(fit)
    assert isinstance(searcher.error, DiskFullError)
    assert str(searcher.error).endswith("No space left on device")


def test_a_log_that_cannot_be_written_ends_the_search_with_the_reason(tmp_path: Path) -> None:
    searcher = BrokerSearcher(Counting(), ["bench"], tmp_path / "tasks")
    (tmp_path / "log").write_text("a file where a folder is wanted")
    events = EventLog(tmp_path / "log" / "events.jsonl")
    TrialErrorLogger(events, searcher.fail).log(7, stored(tmp_path, ValueError("a bug")))
    assert isinstance(searcher.error, OSError)


def test_of_a_finished_trial_tune_keeps_neither_record_nor_numbers() -> None:
    """Oracle: the result as reported, and the size of Tune's own state of the trial as JSON."""
    tuned = Trial("unlearning_trial", stub=True)
    result = {RECORD: "x" * 3000, "training_iteration": 1, "time_total_s": 2.5, "done": True}
    tuned.update_last_result(dict(result))
    before = len(tuned.run_metadata.get_json_state())
    FinishedTrials().on_trial_complete(1, [tuned], tuned)
    assert {name: tuned.last_result[name] for name in result} == {**result, RECORD: ""}
    assert before > 3000
    assert len(tuned.run_metadata.get_json_state()) < before - 3000 - 400
