"""What a lost process does to a stage and to a sweep's clocks. Oracle: events and scratch folders, counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.train import ControllerError, WorkerGroupError

from tests.support.outcomes import measured
from unlearn_sweep.engine.on_ray.training import loss_behind
from unlearn_sweep.engine.process_lost import ProcessLostError
from unlearn_sweep.engine.stages.runner import LOSSES_OF_A_STAGE, StageFailedError, StageRunner
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import MeasureOutcome
from unlearn_sweep.engine.store.stages import StageRequest, StageStore

REQUEST = StageRequest(stage="evaluate", inputs={"model": "m"}, outcome=MeasureOutcome)


def _runner(tmp_path: Path) -> StageRunner:
    return StageRunner(StageStore(tmp_path), EventLog(tmp_path / "events.jsonl"), trial=0)


def _said(tmp_path: Path) -> list[str]:
    return [event.event for event in EventLog(tmp_path / "events.jsonl").read()]


def test_a_stage_whose_process_is_lost_begins_again_in_a_fresh_folder(tmp_path: Path) -> None:
    folders: list[Path] = []

    def compute(folder: Path) -> MeasureOutcome:
        assert list(folder.iterdir()) == []
        folders.append(folder)
        (folder / "half").write_text("x")
        if len(folders) < 3:
            raise ProcessLostError("the measuring process was lost")
        return measured(3)

    result = _runner(tmp_path).run(REQUEST, compute)
    assert result.outcome(MeasureOutcome) == measured(3)
    assert len(set(folders)) == 3
    assert _said(tmp_path) == ["stage_started", "stage_lost"] * 2 + ["stage_started", "stage_finished"]
    assert [path.name for path in (tmp_path / "store" / "stages").iterdir()] == [REQUEST.key]


def test_a_stage_that_ends_every_process_it_gets_fails_with_its_reason(tmp_path: Path) -> None:
    def compute(_: Path) -> MeasureOutcome:
        raise ProcessLostError("killed for its memory")

    with pytest.raises(StageFailedError, match="killed for its memory"):
        _runner(tmp_path).run(REQUEST, compute)
    assert _said(tmp_path).count("stage_started") == 1 + LOSSES_OF_A_STAGE
    assert _said(tmp_path)[-1] == "stage_failed"


def test_an_error_of_the_stage_itself_is_not_tried_again(tmp_path: Path) -> None:
    def compute(_: Path) -> MeasureOutcome:
        raise ValueError("no rows")

    with pytest.raises(StageFailedError):
        _runner(tmp_path).run(REQUEST, compute)
    assert _said(tmp_path) == ["stage_started", "stage_failed"]


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ({0: ActorDiedError()}, "training worker 0 was lost"),
        ({1: OutOfMemoryError("killed")}, "training worker 1 was lost: killed"),
        # What the other ranks see of it is no reason of its own.
        (
            {0: RuntimeError("Connection closed by peer [10.0.0.2]:1"), 1: ActorDiedError()},
            "training worker 1 was lost",
        ),
        (
            {0: RuntimeError("[gloo] Connection closed by peer [10.0.0.2]:21")},
            "training worker 0 lost its connection to another: [gloo] Connection closed by peer [10.0.0.2]:21",
        ),
        # A rank that failed by itself is at fault for what the others then saw.
        ({0: RuntimeError("CUDA out of memory"), 1: RuntimeError("Connection closed by peer [10.0.0.2]:1")}, None),
        ({0: ValueError("loss is NaN")}, None),
        ({0: ValueError("loss is NaN"), 1: RuntimeError("CUDA out of memory")}, None),
    ],
)
def test_what_a_failed_training_lost(failures: dict[int, Exception], told: str | None) -> None:
    assert loss_behind(WorkerGroupError("", failures)) == told


def test_a_controller_that_died_is_a_loss_and_one_that_refused_is_not() -> None:
    assert (loss_behind(ActorDiedError()) or "").startswith("the training's controller was lost: ")
    assert loss_behind(ControllerError(ValueError("no such resource"))) is None
    low = OutOfMemoryError(
        "1 worker(s) were killed due to the node running low on memory. 4 GB used\nOOM kill reason: ..."
    )
    told = (
        "the training's controller was lost: 1 worker(s) were killed due to the node running low on memory. 4 GB used"
    )
    assert loss_behind(ControllerError(low)) == told
