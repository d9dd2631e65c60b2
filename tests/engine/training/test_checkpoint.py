"""A training that is stopped and taken up again. Oracle: the same training in one go, to the bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.training.test_backends import furthest, run_on_ranks, weights
from unlearn_sweep.engine.store.training_progress import TrainingProgress, read_progress
from unlearn_sweep.engine.training.state import TrainProgress
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.methods.catalog import METHODS

JobMaker = Callable[..., dict[str, Any]]
STEPS = 7
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("npo", {}, {}),
    ("pdu", {"dual_warmup": 0.0, "dual_start": 1.0}, {}),  # its dual variable is state
    ("rmu", {"layer": 0.5}, {}),  # its direction is drawn once
    ("npo+rs", {}, {"micro_batch_size": 2}),  # draws in every step
    ("npo+weight_avg+sam", {"average_start": 0.0}, {}),
    ("npo+gru", {"gru_gamma": 0.3}, {"micro_batch_size": 2}),  # smooths over steps
    ("npo+mudman", {}, {"backend": "deepspeed", "zero_stage": 2}),
    ("graddiff+cir", {"cir_inputs": 3, "cir_gradients": 2, "cir_refresh": 0.4}, {"micro_batch_size": 2}),
    ("undo", {"alpha": 0.5, "beta": 1.0}, {"lora": {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": "all"}}),
    ("npo>idk", {"switch_at": 0.6}, {}),
    ("npo", {}, {"lora": {"rank": 2, "alpha": 4.0, "dropout": 0.2, "targets": "all"}}),
    ("npo", {"retain": "kl"}, {"backend": "deepspeed", "zero_stage": 2}),
    ("npo+sam", {}, {"backend": "deepspeed", "zero_stage": 3}),
]


class StoppedError(Exception):
    pass


def stop_at(step: int) -> Callable[[TrainProgress], None]:
    def look(progress: TrainProgress) -> None:
        if progress.step == step:
            raise StoppedError

    return look


@pytest.mark.parametrize(("method", "params", "values"), CASES, ids=[f"{m} {sorted(v)}" for m, _, v in CASES])
def test_taken_up_again_to_the_bit(
    make_job: JobMaker,
    benchmark: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    params: dict[str, Any],
    values: dict[str, Any],
) -> None:
    check_taken_up(make_job, benchmark, tmp_path / "partial", monkeypatch, method, params, values)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_taken_up_again_to_the_bit(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    params = {"rab": {"steering": 50.0}, "re_learn": {"answers": "refusals"}}.get(method, {})
    check_taken_up(make_job, benchmark, tmp_path / "partial", monkeypatch, method, params, {"micro_batch_size": 3})


def check_taken_up(
    make_job: JobMaker,
    benchmark: Benchmark,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    params: dict[str, Any],
    values: dict[str, Any],
) -> None:
    """A training stopped at steps 3 and 6 gives the weights, the record and the curve of one that was not."""
    monkeypatch.setattr("unlearn_sweep.engine.training.loop.PROGRESS_EVERY_S", 0.0)
    whole = make_job(method, params, max_steps=STEPS, **values)
    saved = {"checkpoint_dir": str(folder), "checkpoint_every_s": 0.0}
    broken = make_job(method, params, max_steps=STEPS, **values, **saved)
    expected = run_worker(whole, benchmark=benchmark)
    for step in (3, 6):
        with pytest.raises(StoppedError):
            run_worker(broken, benchmark=benchmark, on_progress=stop_at(step))
        # The step that was stopped at had not been saved, the one before it had.
        assert [place.name for place in folder.iterdir()] == [f"step-{step - 1}"]
        assert not Path(broken["output_dir"]).exists()
    outcome = run_worker(broken, benchmark=benchmark)
    assert outcome["resumed_at_step"] == 5
    assert furthest(weights(whole), weights(broken)) == 0.0
    assert outcome["curve"] == expected["curve"]
    assert outcome["tokens"] == expected["tokens"]
    assert not folder.exists()


def test_another_jobs_checkpoint_is_not_taken(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn_sweep.engine.training.loop.PROGRESS_EVERY_S", 0.0)
    saved = {"checkpoint_dir": str(tmp_path / "partial"), "checkpoint_every_s": 0.0}
    with pytest.raises(StoppedError):
        run_worker(make_job("npo", max_steps=4, **saved), benchmark=benchmark, on_progress=stop_at(3))
    outcome = run_worker(make_job("npo", {"beta": 0.7}, max_steps=4, **saved), benchmark=benchmark)
    assert outcome["resumed_at_step"] == 0


def test_another_thread_count_and_another_place_go_on(
    make_job: JobMaker,
    benchmark: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The start model counts by its content: a copy of it is the same, a changed one is another and that is said."""
    monkeypatch.setattr("unlearn_sweep.engine.training.loop.PROGRESS_EVERY_S", 0.0)
    saved = {"checkpoint_dir": str(tmp_path / "partial"), "checkpoint_every_s": 0.0}
    job = make_job("npo", max_steps=4, threads=1, **saved)
    with pytest.raises(StoppedError):
        run_worker(job, benchmark=benchmark, on_progress=stop_at(3))
    moved = shutil.copytree(job["start_model"], tmp_path / "moved")
    there = {"threads": 2, "start_model": str(moved), "teacher_model": str(moved)}
    with pytest.raises(StoppedError):
        run_worker(job | there, benchmark=benchmark, on_progress=stop_at(4))
    assert run_worker(job | there, benchmark=benchmark)["resumed_at_step"] == 3
    with pytest.raises(StoppedError):
        run_worker(job | {"output_dir": str(tmp_path / "again")}, benchmark=benchmark, on_progress=stop_at(3))
    run_worker(make_job("finetune", max_steps=1) | {"output_dir": str(tmp_path / "other")}, benchmark=benchmark)
    other = {"start_model": str(tmp_path / "other"), "output_dir": str(tmp_path / "last")}
    assert run_worker(job | other, benchmark=benchmark)["resumed_at_step"] == 0
    assert "other settings, data or another start model" in caplog.text


def test_a_training_says_where_it_is_and_leaves_nothing(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn_sweep.engine.training.loop.PROGRESS_EVERY_S", 0.0)
    folder, told = tmp_path / "partial", []
    write = TrainingProgress.write

    def noted(progress: TrainingProgress, place: Path) -> None:
        write(progress, place)
        told.append((place, read_progress(place)))

    monkeypatch.setattr(TrainingProgress, "write", noted)
    run_worker(make_job("npo", max_steps=3) | {"checkpoint_dir": str(folder)}, benchmark=benchmark)
    (place, found), *_ = told
    assert place == folder
    assert found is not None
    assert (found.step, found.steps, found.loss_name) == (1, 3, "forget_cross_entropy")
    assert found.loss is not None
    assert 0 < found.loss < 20
    assert not folder.exists()


def test_a_half_written_checkpoint_is_passed_over(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    folder = tmp_path / "partial"
    (folder / ".step-3.writing").mkdir(parents=True)
    job = make_job("npo") | {"checkpoint_dir": str(folder)}
    assert run_worker(job, benchmark=benchmark)["resumed_at_step"] == 0


@pytest.mark.parametrize("file", ["facts.json", "state.safetensors"])
def test_a_torn_checkpoint_is_not_taken_and_said(
    make_job: JobMaker,
    benchmark: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    file: str,
) -> None:
    """Oracle: the training in one go."""
    monkeypatch.setattr("unlearn_sweep.engine.training.loop.PROGRESS_EVERY_S", 0.0)
    saved = {"checkpoint_dir": str(tmp_path / "partial"), "checkpoint_every_s": 0.0}
    whole, broken = make_job("npo", max_steps=4), make_job("npo", max_steps=4, **saved)
    run_worker(whole, benchmark=benchmark)
    with pytest.raises(StoppedError):
        run_worker(broken, benchmark=benchmark, on_progress=stop_at(3))
    path = next((tmp_path / "partial").glob(f"step-*/{file}"))
    path.write_bytes(path.read_bytes()[:-9])
    assert run_worker(broken, benchmark=benchmark)["resumed_at_step"] == 0
    assert furthest(weights(whole), weights(broken)) == 0.0
    assert file in caplog.text


def test_nothing_is_written_before_its_time(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    folder = tmp_path / "partial"
    seen: list[bool] = []
    job = make_job("npo", checkpoint_dir=str(folder), checkpoint_every_s=3600.0)
    run_worker(job, benchmark=benchmark, on_progress=lambda _: seen.append(folder.exists()))
    assert not any(seen)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("values", [{}, {"backend": "deepspeed", "zero_stage": 3}], ids=["DDP", "ZeRO-3"])
def test_two_ranks_take_up_what_two_ranks_left(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, values: dict[str, Any]
) -> None:
    """The checkpoint of one run is kept and given to a second one, which then does only the last steps."""
    folder = tmp_path / "partial"
    saved = {"checkpoint_dir": str(folder), "checkpoint_every_s": 0.0}
    whole = make_job("npo", max_steps=STEPS, **values)
    short = make_job("npo", max_steps=STEPS, **values, **saved)
    run_on_ranks({"whole": whole}, benchmark, tmp_path / "whole")
    with pytest.raises(AssertionError):  # it can write no model, so it ends after its last checkpoint
        run_on_ranks({"short": short | {"output_dir": "/proc/nowhere/out"}}, benchmark, tmp_path / "short")
    facts = json.loads(next(folder.glob("step-*/facts.json")).read_text())
    assert facts["history"]["steps"] == STEPS - 1
    outcomes = run_on_ranks({"short": short}, benchmark, tmp_path / "again")
    assert [rank["short"]["resumed_at_step"] for rank in outcomes] == [STEPS - 1] * 2
    assert furthest(weights(whole), weights(short)) == 0.0
    assert torch.isfinite(next(iter(weights(short).values()))).all()
