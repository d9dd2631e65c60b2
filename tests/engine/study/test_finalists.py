"""Seeds of front members, through the driver's own director over recorded trials. Oracles: counts, sums by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recorded_attacks import Recorded, RecordedExecutor, attack_list, prepare, recorded_job
from tests.support.sweep_folder import trial
from unlearn_sweep.engine.driver.sweep import Driver
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import Choice, Fixed, MethodSpace
from unlearn_sweep.engine.stages.attack_order import base_costs
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.finalists import missing_seeds, other_seeds
from unlearn_sweep.engine.study.seed_summary import seed_summary, spread

ATTACKS = attack_list(("prefill", "prompt"), ("quantize", "quantize"))
LABELS = [attack.label for attack in ATTACKS]
BOTH = dict.fromkeys(LABELS, 0.5)
# Trials 0 and 2 make the front; trial 1 is beaten by trial 0 whatever its attacks say.
TRIALS = [Recorded(0.9, 0.5, BOTH), Recorded(0.8, 0.4, BOTH), Recorded(0.4, 0.9, BOTH)]
SPACE = MethodSpace(method="graddiff", params={"learning_rate": Choice((0.001, 0.002, 0.003)), "retain": Fixed("nll")})


class Search:
    """A driver after its preparation, run by hand in place of Ray: one task at a time."""

    def __init__(self, storage: Path, *, seeds: int) -> None:
        job = recorded_job(storage, "sweep", ATTACKS, prune=True)
        search = job.search.model_copy(update={"trials": 3, "seeds_for_finalists": seeds, "reproducible": False})
        self.job = job.model_copy(update={"search": search})
        self.prepared = prepare(self.job)
        self.executor = RecordedExecutor(TRIALS)
        self.driver = Driver(self.job)
        self.driver.open()
        self.driver.attack_costs = base_costs(ATTACKS, self.prepared, self.driver.store, timed=False)
        plan = SearchPlan(sampler="grid", allocation="equal", trials=3, seed=1)
        journal = self.job.directory / "study.journal"
        self.driver.broker = StudyBroker(journal, [SPACE], plan, identity={}, known=self.driver.settled.values())

    def run(self, *, until: int | None = None) -> list[TrialTask]:
        """Run tasks to the end, or `until` so many of them."""
        done: list[TrialTask] = []
        while (until is None or len(done) < until) and (task := self.driver.next_task()) is not None:
            self.driver.settle(task, run_trial(task, self.job, self.prepared, self.executor))
            done.append(task)
        return done


def _seeds(records: list[TrialRecord]) -> dict[int, list[int]]:
    return {record.number: [score.seed for score in record.seeds] for record in records}


def test_only_front_members_get_other_seeds_and_all_their_attacks(tmp_path: Path) -> None:
    search = Search(tmp_path, seeds=3)
    tasks = search.run()
    assert [(task.number, task.seed) for task in tasks] == [(0, 1), (1, 1), (2, 1), (0, 2), (0, 3), (2, 2), (2, 3)]
    assert search.driver.no_more_tasks()
    assert search.driver.is_finished()
    records = search.driver.records()
    assert _seeds(records) == {0: [2, 3], 1: [], 2: [2, 3]}
    assert all(score.rob == 0.5 and score.state == "complete" for score in records[0].seeds)
    assert [score.skipped for score in records[1].attacks] == [False, True]  # 0.5 under the first already ends it
    kept = {path.name for path in (search.driver.store.root / "models").iterdir()}
    assert kept == {records[0].stage_keys["unlearn"], records[2].stage_keys["unlearn"]}
    assert list((search.job.directory / "in_use").iterdir()) == []


def test_a_stop_in_the_middle_repeats_no_finished_seed(tmp_path: Path) -> None:
    first = Search(tmp_path, seeds=3)
    assert len(first.run(until=4)) == 4
    assert not first.driver.is_finished()
    second = Search(tmp_path, seeds=3)
    assert [(task.number, task.seed) for task in second.run()] == [(0, 3), (2, 2), (2, 3)]
    assert _seeds(second.driver.records()) == {0: [2, 3], 1: [], 2: [2, 3]}
    assert second.executor.attacks_run == [(0, label) for label in LABELS] + [(2, label) for label in LABELS] * 2


def test_more_seeds_extend_a_finished_sweep_and_one_seed_asks_for_none(tmp_path: Path) -> None:
    assert len(Search(tmp_path, seeds=1).run()) == 3
    assert Search(tmp_path, seeds=1).driver.is_finished()
    assert [(task.number, task.seed) for task in Search(tmp_path, seeds=2).run()] == [(0, 2), (2, 2)]


def test_finalists_wait_for_the_last_trial(tmp_path: Path) -> None:
    """With two at once the front may still change while a trial runs."""
    search = Search(tmp_path, seeds=2)
    tasks = [search.driver.next_task() for _ in range(3)]
    assert search.driver.next_task() is None
    assert not search.driver.no_more_tasks()
    for task in tasks:
        assert task is not None
        search.driver.settle(task, run_trial(task, search.job, search.prepared, search.executor))
    found = search.driver.next_task()
    assert found is not None
    assert found.finalist


def test_a_seed_that_is_lost_is_recorded_with_its_reason(tmp_path: Path) -> None:
    search = Search(tmp_path, seeds=2)
    search.run(until=3)
    task = search.driver.next_task()
    assert task is not None
    search.driver.lost(task, "the trial's process was lost")
    record = search.driver.records()[0]
    assert (record.state, record.seeds[0].state, record.seeds[0].reason) == (
        "complete", "failed", "the trial's process was lost"
    )  # fmt: skip
    summary = seed_summary(record)
    assert summary is not None
    assert (summary.runs, summary.complete, summary.lost) == (2, 1, ["seed 2 failed: the trial's process was lost"])
    assert summary.spreads["rob"].deviation is None


def test_mean_and_spread_are_the_sample_ones() -> None:
    """1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, over two."""
    found = spread([1.0, 2.0, 6.0])
    assert (found.mean, found.n) == (3.0, 3)
    assert found.deviation == pytest.approx(7**0.5)


def test_a_pruned_trial_is_never_a_finalist_and_seeds_wrap_around() -> None:
    bound = trial(0, ue=1.0, ut=1.0, rob=1.0, rob_is_bound=True)
    assert list(missing_seeds([bound], 3)) == []
    assert other_seeds(trial(0, seed=2**32 - 2), 3) == [2**32 - 1, 0]
