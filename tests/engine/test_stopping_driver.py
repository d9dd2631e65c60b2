"""A search that stops trainings: real driver, study, trainings, attacks and report, in this process.

Oracles: the log, the records, and the regret by hand from the trials' points.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.in_process_sweep import run_in_process
from tests.support.tiny_authors import QUANTIZE, tiny_job
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import Fixed, LogUniform, MethodSpace
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stopping.settings import StopTrainings
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.front import hypervolume
from unlearn_sweep.sweeps.report.build import load_report

pytestmark = pytest.mark.slow

SPACE = MethodSpace(
    method="graddiff",
    params={
        "learning_rate": LogUniform(1e-4, 1e-2),
        "epochs": Fixed(4),
        "retain": Fixed("nll"),
        "forget_weight": Fixed(1.0),
        "retain_weight": Fixed(1.0),
    },
)
STOP = StopTrainings(learn_from=2, sure=0.5, finish_anyway=0.4, rows=6)


def job_in(storage: Path, name: str, **search: object) -> SweepJob:
    job = tiny_job(storage, name, [QUANTIZE], **{"trials": 12, "sampler": "random", **search})
    return job.model_copy(update={"spaces": [SPACE]})


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepJob, list[TrialRecord]]:
    job = job_in(tmp_path_factory.mktemp("storage"), "stops", stop_trainings=STOP)
    return job, run_in_process(job, InProcessExecutor())


def test_some_trials_stop_and_some_run_anyway(swept: tuple[SweepJob, list[TrialRecord]]) -> None:
    job, records = swept
    stopped = [record for record in records if record.state == "stopped"]
    anyway = [record for record in records if record.stopping is not None and record.stopping.ran_anyway]
    assert len(stopped) >= 2
    assert len(anyway) >= 1
    assert {record.state for record in anyway} == {"complete"}
    store = StageStore(job.storage)
    for record in stopped:
        assert store.result(record.stage_keys["unlearn"]) is None
        assert not store.has_weights(record.stage_keys["unlearn"])
        assert not store.partial_folder(record.stage_keys["unlearn"]).exists()
        assert "evaluate" not in record.stage_keys
    assert not any(path.name.startswith(".") for path in (store.root / "stages").iterdir())


def test_what_runs_to_its_end_is_what_a_search_without_stopping_has(
    swept: tuple[SweepJob, list[TrialRecord]], tmp_path: Path
) -> None:
    """Random search asks for the same settings, whatever it is told. Oracle: a sweep in a storage of its own."""
    _, records = swept
    plain = run_in_process(job_in(tmp_path, "plain", prune=False), InProcessExecutor())
    assert [record.params for record in records] == [record.params for record in plain]
    ends = [(one, other) for one, other in zip(records, plain, strict=True) if one.state == "complete"]
    assert len(ends) >= 4
    assert [(one.ue, one.ut) for one, _ in ends] == [(other.ue, other.ut) for _, other in ends]
    assert all(one.rob == other.rob for one, other in ends if not one.rob_is_bound)


def test_a_finished_sweep_runs_no_stopped_trial_again(swept: tuple[SweepJob, list[TrialRecord]]) -> None:
    job, records = swept
    before = EventLog(job.directory / "events.jsonl").read()
    again = run_in_process(job, InProcessExecutor())
    assert [record.model_dump() for record in again] == [record.model_dump() for record in records]
    after = EventLog(job.directory / "events.jsonl").read()
    new = after[len(before) :]
    assert not [event for event in new if event.trial is not None and event.event.startswith(("stage", "trial"))]
    trials = [json.loads(path.read_text()) for path in (job.directory / "trials").glob("*.json")]
    assert sum(trial["state"] == "stopped" for trial in trials) == sum(one.state == "stopped" for one in records)


def test_a_reproducible_sweep_decides_alike_after_its_records_are_lost(tmp_path: Path) -> None:
    """Some records go as after a kill, with what was measured in the store. Oracle: the decisions before."""
    job = job_in(tmp_path, "again", stop_trainings=STOP, reproducible=True, trials=14)
    before = run_in_process(job, InProcessExecutor())
    assert {record.state for record in before} >= {"stopped", "complete"}
    for number in (11, 12, 13):
        (job.directory / "trials" / f"{number}.json").unlink()
    after = run_in_process(job, InProcessExecutor())
    assert [(one.params, one.state, one.stopping) for one in after] == [
        (one.params, one.state, one.stopping) for one in before
    ]


def test_the_report_has_the_regret(swept: tuple[SweepJob, list[TrialRecord]]) -> None:
    """By hand: the hypervolume with each trial that ran anyway less that without, beside all that would not stop."""
    job, records = swept
    base = (0.0, 0.0, 0.0)
    points = {one.number: (one.ue, one.ut, one.rob) for one in records if one.state == "complete"}
    anyway = [one.number for one in records if one.stopping is not None and one.stopping.ran_anyway]
    assert not any(one.rob_is_bound for one in records if one.number in anyway)
    others = [point for number, point in points.items() if number not in anyway and not records[number].rob_is_bound]
    gains = [hypervolume([*others, points[number]], base) - hypervolume(others, base) for number in anyway]
    stopped = [one for one in records if one.state == "stopped"]
    found = load_report(job.directory).stopping
    assert found is not None
    assert (found.stopped, found.ran_anyway) == ([one.number for one in stopped], anyway)
    assert found.regret == pytest.approx(len(stopped) * sum(gains) / len(gains))
    assert sum(gains) > 0
    saved = 0.0
    for one in stopped:
        assert one.training is not None
        saved += one.training.seconds * (one.training.planned_steps / one.training.steps - 1)
    assert found.seconds_saved == pytest.approx(saved)
