"""Oracle: counts of how often the work was really done."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pandas as pd
import pytest

from tests.support.outcomes import OUTCOME, measured, trained
from unlearn_sweep.engine.stages.runner import StageFailedError, StageRunner
from unlearn_sweep.engine.store.damaged import DamagedFileError
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.keys import digest, named_files
from unlearn_sweep.engine.store.outcomes import AttackOutcome, MeasureOutcome, TrainOutcome
from unlearn_sweep.engine.store.stages import StageRequest, StageStore, check_stored_weights


def _runner(tmp_path: Path, trial: int | None = 0) -> StageRunner:
    return StageRunner(StageStore(tmp_path), EventLog(tmp_path / "events.jsonl"), trial=trial)


def test_a_finished_stage_is_never_run_again(tmp_path: Path) -> None:
    done: list[int] = []
    request = StageRequest(stage="evaluate", inputs={"model": "m", "beta": 0.1}, outcome=MeasureOutcome)
    results = [_runner(tmp_path).run(request, lambda _: done.append(1) or measured(3)) for _ in range(3)]
    assert done == [1]
    assert [result.outcome(MeasureOutcome) for result in results] == [measured(3)] * 3
    events = [event.event for event in EventLog(tmp_path / "events.jsonl").read()]
    assert events == ["stage_started", "stage_finished", "stage_reused", "stage_reused"]


def test_stages_of_one_name_are_each_logged_as_reused_once(tmp_path: Path) -> None:
    """The preparation measures original and gold under one name; a mirror copies the stages that the log names."""
    both = [StageRequest(stage="evaluate", inputs={"model": m}, outcome=MeasureOutcome) for m in ("original", "gold")]
    for request in both:
        _runner(tmp_path, None).run(request, lambda _: measured())
    again = _runner(tmp_path, None)
    for request in [*both, *both]:
        again.run(request, lambda _: measured())
    events = EventLog(tmp_path / "events.jsonl").read()
    assert [event.stage_key for event in events if event.event == "stage_reused"] == [request.key for request in both]


def test_two_at_once_do_the_work_once(tmp_path: Path) -> None:
    done: list[int] = []
    request = StageRequest(stage="evaluate", inputs={"model": "m"}, outcome=MeasureOutcome)

    def work(_: Path) -> MeasureOutcome:
        done.append(1)
        threading.Event().wait(0.2)
        return measured()

    threads = [threading.Thread(target=lambda: _runner(tmp_path).run(request, work)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [1]


def test_a_failure_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    request = StageRequest(stage="attack:relearn", inputs={}, outcome=AttackOutcome)

    def fail(folder: Path) -> AttackOutcome:
        (folder / "half").write_text("x")
        raise ValueError("no rows left to relearn")

    with pytest.raises(StageFailedError, match="no rows left") as caught:
        _runner(tmp_path).run(request, fail)
    assert caught.value.stage == "attack:relearn"
    assert list((tmp_path / "store" / "stages").iterdir()) == []
    last = EventLog(tmp_path / "events.jsonl").read()[-1]
    assert (last.event, last.reason) == ("stage_failed", "ValueError: no rows left to relearn")


def test_evicted_weights_make_the_stage_unfinished(tmp_path: Path) -> None:
    runner, done = _runner(tmp_path), []
    request = StageRequest(stage="unlearn", inputs={}, outcome=TrainOutcome, weights=True)

    def train(_: Path) -> TrainOutcome:
        done.append(1)
        runner.store.model_folder(request.key).mkdir(parents=True)
        (runner.store.model_folder(request.key) / "w").write_bytes(b"12345")
        return OUTCOME

    runner.run(request, train)
    runner.run(request, train)
    assert runner.store.evict_model(request.key) == 5
    assert runner.store.evict_model(request.key) == 0
    runner.run(request, train)
    assert len(done) == 2


def test_keys_depend_on_meaning_only() -> None:
    assert digest({"a": 1.0, "b": [1, 2]}) == digest({"b": (1, 2), "a": 1.00000000000001})
    assert digest({"a": 1.0}) != digest({"a": 1.001})
    with pytest.raises(ValueError, match="Out of range"):
        digest({"a": float("nan")})


def test_what_the_killed_left_is_cleared_and_what_runs_is_not(tmp_path: Path) -> None:
    from unlearn_sweep.engine.store import durable

    store = StageStore(tmp_path)
    stages, models = store.root / "stages", store.root / "models"
    dead, live = stages / ".aaaa.123.beef.tmp", stages / ".bbbb.124.cafe.tmp"
    for folder in (dead / "model", live / "model", models / ".cccc.evicted", stages / "dddd", models / "eeee"):
        folder.mkdir(parents=True)
    with durable.file_lock(store.lock("bbbb")):  # somebody is at this stage
        assert store.clear_remains() == 2
    assert sorted(path.name for path in stages.iterdir()) == [live.name, "dddd"]
    assert [path.name for path in models.iterdir()] == ["eeee"]


def test_a_file_that_changed_under_its_name_is_another_input(tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    path.write_text("one")
    params = {"steps": [{"finetune": {"data": str(path)}}], "view": f"task:{path}", "name": "gsm8k", "rate": 1e-5}
    before = named_files(params)
    assert list(before["files"]) == [str(path)]
    path.write_text("other")
    assert named_files(params) != before
    assert named_files({"data": "gsm8k", "gone": f"{path}.gone", "number": 3}) == {}


@pytest.mark.parametrize("place", ["rows.parquet", "stage.json", "weights"])
def test_one_flipped_byte_makes_a_stage_unfinished(tmp_path: Path, place: str) -> None:
    """Oracle: the count of runs, and the note that names the file."""
    runner, done = _runner(tmp_path), []
    request = StageRequest(stage="unlearn", inputs={"model": "m"}, outcome=TrainOutcome, weights=True)
    model = runner.store.model_folder(request.key)

    def train(folder: Path) -> TrainOutcome:
        done.append(1)
        pd.DataFrame({"value": [1.0, 2.0]}).to_parquet(folder / "rows.parquet")
        model.mkdir(parents=True, exist_ok=True)
        (model / "w.safetensors").write_bytes(b"12345678")
        return trained(seconds=0.25)

    runner.run(request, train)
    stage = runner.store.stage_folder(request.key)
    path = model / "w.safetensors" if place == "weights" else stage / place
    before = path.read_bytes()
    at = before.index(b"0.25") + 3 if place == "stage.json" else len(before) // 2
    path.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
    assert runner.store.find(request) is None
    if place == "weights":
        with pytest.raises(DamagedFileError, match=re.escape(str(path))):
            check_stored_weights(model)
    else:
        with pytest.raises(DamagedFileError, match=re.escape(str(path))):
            runner.store.rows(request.key)
    assert runner.run(request, train).outcome(TrainOutcome) == trained(seconds=0.25)
    assert len(done) == 2
    notes = [event.reason or "" for event in EventLog(tmp_path / "events.jsonl").read() if event.event == "note"]
    assert [str(path) in note for note in notes] == [True]
    assert runner.store.find(request) is not None
