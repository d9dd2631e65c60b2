"""Requests to forget one after another, on the built-in benchmark.

Oracles: rows by request, the event log, keys of stages, equality with a trial of one request.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_authors import OPTIONS, QUANTIZE, Ready, make_ready, tiny_job
from unlearn_sweep.engine.job import BenchmarkSettings, RequestSettings, SweepJob
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.training_requests import unlearn_links
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.benchmarks.requests import REQUESTS_KEY
from unlearn_sweep.methods.catalog import card

DIVIDED = {**OPTIONS, "authors": 12, "forget_authors": 4, "requests": 3}
PARAMS = {param.name: param.default for param in card("graddiff").params} | {"learning_rate": 3e-3, "epochs": 2}


class Watching(InProcessExecutor):
    """Trains as ever, and keeps what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[TrainJob] = []

    def train(self, job: TrainJob, *, name: str) -> Any:
        self.asked.append(job)
        return super().train(job, name=name)


def changed(job: SweepJob, **changes: Any) -> SweepJob:
    return SweepJob.model_validate(job.model_copy(update=changes).model_dump())


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    job = changed(
        tiny_job(tmp_path_factory.mktemp("storage"), "requests", [QUANTIZE]),
        benchmark=BenchmarkSettings(name="authors", params=DIVIDED),
        requests=RequestSettings(after=[1, 2, 3]),
    )
    return make_ready(job, Watching())


def run(ready: Ready, number: int, **changes: Any) -> tuple[TrialRecord, list[TrainJob]]:
    job, prepared, executor = ready
    assert isinstance(executor, Watching)
    before = len(executor.asked)
    task = TrialTask(number=number, key=f"k{number}", method="graddiff", params=PARAMS, seed=3)
    record = run_trial(task, changed(job, **changes), prepared, executor)
    return record, executor.asked[before:]


@pytest.fixture(scope="module")
def first(ready: Ready) -> tuple[TrialRecord, list[TrainJob]]:
    return run(ready, 0)


def test_forget_facts_are_divided_and_a_training_reads_its_own() -> None:
    whole = load_benchmark("authors", DIVIDED)
    by_request = {
        number: {row.group_id for row in whole.train["forget"] if row.request == number} for number in (1, 2, 3)
    }
    assert [len(groups) for groups in by_request.values()] == [6, 5, 5]
    assert sum(map(len, by_request.values())) == len(set().union(*by_request.values()))
    numbers = [row.request for row in whole.train["forget"]]
    assert numbers == sorted(numbers), "neighbours, such as one author's facts, belong to one request"
    assert {row.group_id: row.request for row in whole.evaluation["forget"]} == {
        group: number for number, groups in by_request.items() for group in groups
    }
    second = load_benchmark("authors", {**DIVIDED, REQUESTS_KEY: [2]})
    assert {row.group_id for row in second.train["forget"]} == by_request[2]
    assert second.train["retain"] == whole.train["retain"]
    assert second.evaluation == whole.evaluation


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("authors", {**OPTIONS, "requests": 20}, "12 forget facts, too few for 20 requests"),
        ("authors", {**DIVIDED, REQUESTS_KEY: [4]}, "no forget rows of request 4; it has 3 requests"),
    ],
)
def test_what_cannot_be_divided_is_told(name: str, params: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        load_benchmark(name, params)


@pytest.mark.slow
def test_each_request_is_unlearned_from_the_model_before_it(
    ready: Ready, first: tuple[TrialRecord, list[TrainJob]]
) -> None:
    job, prepared, _ = ready
    record, asked = first
    assert record.state in ("complete", "collapsed"), record.reason
    assert [training.benchmark.params[REQUESTS_KEY] for training in asked] == [[1], [2], [3]]
    links = unlearn_links(job, "graddiff", PARAMS, 3, prepared.ids["original"], prepared.data)
    folders = [str(StageStore(job.storage).model_folder(link.request.key)) for link in links]
    assert [training.start_model for training in asked] == [prepared.paths["original"], *folders[:2]]
    assert record.stage_keys["unlearn"] == links[-1].request.key


@pytest.mark.slow
def test_the_record_has_the_objectives_after_each_request(first: tuple[TrialRecord, list[TrainJob]]) -> None:
    record, _ = first
    assert [score.after for score in record.requests] == [1, 2]
    for score in record.requests:
        assert score.ue is not None
        assert score.ut is not None
        assert 0 < score.ue <= 1
        assert 0 <= score.ut <= 1
    assert record.ue is not None


@pytest.mark.slow
def test_models_on_the_way_are_not_kept(ready: Ready, first: tuple[TrialRecord, list[TrainJob]]) -> None:
    job, prepared, _ = ready
    links = unlearn_links(job, "graddiff", PARAMS, 3, prepared.ids["original"], prepared.data)
    kept = [StageStore(job.storage).model_folder(link.request.key).is_dir() for link in links]
    assert kept == [False, False, True]
    assert first[0].model_path is not None


@pytest.mark.slow
def test_an_equal_beginning_is_trained_and_measured_once(
    ready: Ready, first: tuple[TrialRecord, list[TrainJob]]
) -> None:
    """Two requests are the beginning of three."""
    shorter, asked = run(ready, 1, requests=RequestSettings(after=[1, 2]), attacks=[])
    assert set(shorter.reused_stages) >= {"unlearn:request-1", "evaluate:request-1", "unlearn", "evaluate"}
    assert (shorter.ue, shorter.ut) == pytest.approx((first[0].requests[1].ue, first[0].requests[1].ut))
    assert asked == []


@pytest.mark.slow
def test_one_request_alone_is_the_first_of_a_sequence(ready: Ready, first: tuple[TrialRecord, list[TrainJob]]) -> None:
    alone, _ = run(ready, 2, requests=RequestSettings(after=[1]))
    assert alone.requests == []
    assert (alone.ue, alone.ut) == pytest.approx((first[0].requests[0].ue, first[0].requests[0].ut))


@pytest.mark.slow
def test_together_all_requests_so_far_are_unlearned_from_the_original(ready: Ready) -> None:
    record, asked = run(ready, 3, requests=RequestSettings(after=[2, 3], mode="together"))
    assert [training.benchmark.params[REQUESTS_KEY] for training in asked] == [[1, 2], [1, 2, 3]]
    assert {training.start_model for training in asked} == {ready[1].paths["original"]}
    assert [score.after for score in record.requests] == [2]


def test_the_key_of_a_link_depends_on_the_model_before_it_in_sequence_and_on_the_original_together(
    tmp_path: Path,
) -> None:
    """Two sequences with the same second request are other models if their first trainings differ."""
    job = tiny_job(tmp_path, "one", [])
    sequence, together = (
        unlearn_links(
            changed(job, requests=RequestSettings(after=[1, 2, 3], mode=mode)),
            "graddiff",
            PARAMS,
            3,
            "original",
            "data",
        )
        for mode in ("sequence", "together")
    )
    assert [link.request.inputs["original"] for link in sequence] == [
        "original", sequence[0].request.key, sequence[1].request.key
    ]  # fmt: skip
    assert {link.request.inputs["original"] for link in together} == {"original"}


def test_without_requests_a_trial_has_the_key_it_always_had(tmp_path: Path) -> None:
    (link,) = unlearn_links(tiny_job(tmp_path, "one", []), "graddiff", PARAMS, 3, "original", "data")
    assert (link.request.stage, link.requests, link.before) == ("unlearn", (), None)
    assert "requests" not in link.request.inputs


@pytest.mark.parametrize("after", [[], [2, 1], [0, 1], [1, 1]])
def test_numbers_that_do_not_rise_are_refused(after: list[int]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        RequestSettings(after=after)
