"""What Tune is given when processes are lost. Oracle: counts; the director here only counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.tune.search import Searcher

from tests.support.sweep_folder import trial
from unlearn_sweep.engine.on_ray.compress import packed, unpacked
from unlearn_sweep.engine.on_ray.search import LOST_WORKER_RETRIES, RECORD, BrokerSearcher
from unlearn_sweep.engine.stages.trial_task import TrialTask
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
