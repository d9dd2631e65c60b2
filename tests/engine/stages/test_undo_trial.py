"""A trial of two trainings in turn, over real store and losses. Oracles: the event log, the weights, each training by
itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.tiny_authors import PREFILL, Ready, make_ready, tiny_job
from unlearn_sweep.engine.search_space import Dimension, Fixed, MethodSpace, Scalar, Uniform
from unlearn_sweep.engine.stages import training_requests
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.training.worker import run_training

NPO = {"learning_rate": 1e-3, "epochs": 1, "beta": 0.5}
UNDO = {"learning_rate": 1e-3, "epochs": 1, "alpha": 0.3, "beta": 0.2}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return make_ready(tiny_job(tmp_path_factory.mktemp("storage"), "one", [PREFILL]))


def params(**changes: float) -> dict[str, Scalar]:
    return {**NPO, **{f"undo.{name}": value for name, value in UNDO.items()}, **changes}


def run(number: int, given: dict[str, Scalar], ready: Ready, *, searched: tuple[str, ...] = ()) -> TrialRecord:
    dimensions: dict[str, Dimension] = {
        name: Uniform(low=float(value) / 2, high=float(value) * 2) if name in searched else Fixed(value)
        for name, value in given.items()
    }
    space = MethodSpace(method="npo>undo", params=dimensions)
    job = ready[0].model_copy(update={"spaces": (space,)})
    task = TrialTask(number=number, key=f"k{number}", method="npo>undo", params=given, seed=3)
    return run_trial(task, job, *ready[1:])


def finished(ready: Ready, number: int) -> list[str | None]:
    log = EventLog(ready[0].directory / "events.jsonl").read()
    return [found.stage for found in log if (found.trial, found.event) == (number, "stage_finished")]


def test_the_second_training_learns_from_the_first_ones_model(ready: Ready, tmp_path: Path) -> None:
    job, prepared, _ = ready
    record = run(0, params(), ready)
    assert record.state == "complete", record.reason
    assert finished(ready, 0)[:2] == ["suppress", "unlearn"]
    first = training_requests.unlearn_job(job, "npo", NPO, 3, prepared.paths["original"], tmp_path / "npo")
    run_training(first)
    second = training_requests.unlearn_job(job, "undo", UNDO, 3, str(tmp_path / "npo"), tmp_path / "undo")
    run_training(second)
    expected = load_file(tmp_path / "undo" / "model.safetensors")
    found = load_file(Path(record.model_path or "") / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name
    teacher = load_file(tmp_path / "npo" / "model.safetensors")
    assert max(float((found[name] - teacher[name]).abs().max()) for name in found) > 1e-2


def test_a_first_training_that_is_the_same_in_all_trials_is_made_once(ready: Ready) -> None:
    again = run(1, params(**{"undo.alpha": 0.5}), ready, searched=("undo.alpha",))
    assert again.state == "complete", again.reason
    assert again.reused_stages == ["suppress"]


def test_a_first_training_that_is_searched_leaves_no_model_behind(ready: Ready) -> None:
    job, prepared, _ = ready
    given = params(learning_rate=2e-3)
    record = run(2, given, ready, searched=("learning_rate",))
    assert record.state == "complete", record.reason
    own = {**NPO, "learning_rate": 2e-3}
    request = training_requests.suppress_stage(job, "npo", own, 3, prepared.ids["original"], prepared.data)
    store = StageStore(job.storage)
    assert store.stage_folder(request.key).is_dir()
    assert not store.has_weights(request.key)
    assert store.has_weights(record.stage_keys["unlearn"])
    assert not list((job.directory / "in_use").glob("*-suppressed"))


def test_a_first_training_that_diverges_is_a_collapsed_trial(ready: Ready) -> None:
    record = run(3, params(learning_rate=1.0, epochs=3), ready)
    assert record.state == "collapsed"
    assert "SuppressionDiverged: " in (record.reason or "")
    assert finished(ready, 3) == ["suppress"]


def test_the_stages_follow_both_trainings(ready: Ready) -> None:
    job, prepared, _ = ready

    def key(given: dict[str, Scalar]) -> str:
        return training_requests.unlearn_stage(job, "npo>undo", given, 3, prepared.ids["original"], prepared.data).key

    keys = [key(given) for given in (params(), params(beta=0.6), params(**{"undo.alpha": 0.4}))]
    assert len(set(keys)) == 3
