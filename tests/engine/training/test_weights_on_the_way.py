"""Weights at shares of a training. Oracles, to the bit: the same training without them, and one stopped there."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.engine.training.test_backends import ROOT, furthest, run_on_ranks, weights
from tests.engine.training.test_checkpoint import StoppedError, stop_at
from unlearn_sweep.engine.training.schedule import steps_at
from unlearn_sweep.engine.training.weights_on_the_way import MODEL, written
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

JobMaker = Callable[..., dict[str, Any]]
STEPS = 8
LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.2, "targets": "all"}
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("npo", {}, {}),
    ("npo", {}, {"lora": LORA}),
    ("npo+weight_avg+sam", {"average_start": 0.0}, {}),
    ("task_vector", {}, {}),
    ("npo", {}, {"dtype": "bfloat16", "optimizer": "lion"}),
    ("npo>idk", {"switch_at": 0.6}, {"warmup_share": 0.25}),
    ("npo", {"retain": "kl"}, {"backend": "deepspeed", "zero_stage": 2}),
    ("npo", {}, {"backend": "deepspeed", "zero_stage": 3}),
]


def at(folder: Path, share: str) -> Any:
    return load_file(folder / share / MODEL / "model.safetensors")


@pytest.mark.parametrize(("method", "params", "values"), CASES, ids=[f"{m} {sorted(v)}" for m, _, v in CASES])
def test_the_end_is_the_same_and_the_middle_is_a_run_stopped_there(
    make_job: JobMaker,
    benchmark: Benchmark,
    tmp_path: Path,
    method: str,
    params: dict[str, Any],
    values: dict[str, Any],
) -> None:
    plain = make_job(method, params, max_steps=STEPS, **values)
    stopped = make_job(method, params, max_steps=STEPS, stop_at=0.5, **values)
    folder = tmp_path / "shares"
    exporting = make_job(method, params, max_steps=STEPS, export_shares=[0.25, 0.5], export_dir=str(folder), **values)
    expected = run_worker(plain, benchmark=benchmark)
    middle = run_worker(stopped, benchmark=benchmark)
    found = run_worker(exporting, benchmark=benchmark)
    assert furthest(weights(plain), weights(exporting)) == 0.0
    assert {name: expected[name] for name in ("steps", "tokens", "curve")} == {
        name: found[name] for name in ("steps", "tokens", "curve")
    }
    assert (middle["steps"], middle["planned_steps"]) == (4, STEPS)
    assert furthest(at(folder, "0.5"), weights(stopped)) == 0.0
    assert furthest(at(folder, "0.25"), at(folder, "0.5")) > 0.0
    outcome = written(folder, 0.5)
    assert outcome is not None
    assert (outcome.steps, outcome.planned_steps, outcome.weights_finite) == (4, STEPS, True)
    assert outcome.tokens == middle["tokens"]
    assert outcome.relative_change == pytest.approx(middle["relative_change"])


def test_a_constant_rate_makes_the_middle_a_shorter_training(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path
) -> None:
    """Oracle: another training of half the steps, which knows nothing of shares; under a schedule it differs."""
    for decay, same in (("constant", True), ("linear", False)):
        folder = tmp_path / decay
        short = make_job("npo", max_steps=STEPS // 2, decay=decay)
        long = make_job("npo", max_steps=STEPS, decay=decay, export_shares=[0.5], export_dir=str(folder))
        for job in (short, long):
            run_worker(job, benchmark=benchmark)
        assert (furthest(at(folder, "0.5"), weights(short)) == 0.0) is same


def test_a_kill_loses_no_share(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped behind the first share, the next process goes on from there and does not write it again."""
    monkeypatch.setattr("unlearn_sweep.engine.training.loop.PROGRESS_EVERY_S", 0.0)
    folder = tmp_path / "shares"
    plain = make_job("npo", max_steps=STEPS)
    run_worker(plain, benchmark=benchmark)
    asked = {"export_shares": [0.25, 0.75], "export_dir": str(folder), "checkpoint_dir": str(tmp_path / "partial")}
    job = make_job("npo", max_steps=STEPS, checkpoint_every_s=10_000.0, **asked)
    with pytest.raises(StoppedError):
        run_worker(job, benchmark=benchmark, on_progress=stop_at(4))
    assert [place.name for place in folder.iterdir()] == ["0.25"]
    stamp = (folder / "0.25").stat().st_mtime_ns
    before = at(folder, "0.25")
    outcome = run_worker(job, benchmark=benchmark)
    assert outcome["resumed_at_step"] == 2  # the share was followed by a checkpoint, whatever the clock
    assert (folder / "0.25").stat().st_mtime_ns == stamp
    assert sorted(place.name for place in folder.iterdir()) == ["0.25", "0.75"]
    assert furthest(weights(plain), weights(job)) == 0.0
    assert furthest(before, at(folder, "0.25")) == 0.0


def test_a_lost_share_is_made_again(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn_sweep.engine.training.loop.PROGRESS_EVERY_S", 0.0)
    folder = tmp_path / "shares"
    asked = {"export_shares": [0.25], "export_dir": str(folder), "checkpoint_dir": str(tmp_path / "partial")}
    job = make_job("npo", max_steps=STEPS, **asked)
    with pytest.raises(StoppedError):
        run_worker(job, benchmark=benchmark, on_progress=stop_at(4))
    (folder / "0.25" / "outcome.json").unlink()
    assert run_worker(job, benchmark=benchmark)["resumed_at_step"] == 0
    assert written(folder, 0.25) is not None


def test_a_diverged_training_has_the_same_weights_at_later_shares(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path
) -> None:
    folder = tmp_path / "shares"
    job = make_job("npo", max_steps=STEPS, loss_cap=1e-6, export_shares=[0.5], export_dir=str(folder))
    outcome = run_worker(job, benchmark=benchmark)
    assert (outcome["stopped_early"], outcome["steps"]) == ("diverged", 1)
    found = written(folder, 0.5)
    assert found is not None
    assert (found.stopped_early, found.steps) == ("diverged", 1)
    assert furthest(at(folder, "0.5"), weights(job)) == 0.0


def test_shares_are_whole_steps() -> None:
    assert [steps_at(share, 10) for share in (1e-6, 0.24, 0.25, 0.5, 1.0)] == [1, 2, 2, 5, 10]


KILLED = """
import os, pickle, signal, sys
from pathlib import Path
import torch
from unlearn_sweep.engine.training import loop
from unlearn_sweep.engine.training.worker import run_worker
torch.set_num_threads(1)
loop.PROGRESS_EVERY_S = 0.0
job, benchmark = pickle.loads(Path(sys.argv[1]).read_bytes())
kill = lambda progress: os.kill(os.getpid(), signal.SIGKILL) if progress.step == 4 else None
run_worker(job, benchmark=benchmark, on_progress=kill)
"""


@pytest.mark.slow
def test_a_killed_process_leaves_its_shares(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    """SIGKILL behind the first share. Oracle: the weights of a training that was left alone."""
    folder = tmp_path / "shares"
    asked = {"export_shares": [0.25, 0.75], "export_dir": str(folder), "checkpoint_dir": str(tmp_path / "partial")}
    plain, job = make_job("npo", max_steps=STEPS), make_job("npo", max_steps=STEPS, checkpoint_every_s=1e4, **asked)
    run_worker(plain, benchmark=benchmark)
    (tmp_path / "given").write_bytes(pickle.dumps((job, benchmark)))
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "given")], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [place.name for place in folder.iterdir()] == ["0.25"]
    stamp = (folder / "0.25").stat().st_mtime_ns
    assert run_worker(job, benchmark=benchmark)["resumed_at_step"] == 2
    assert (folder / "0.25").stat().st_mtime_ns == stamp
    assert written(folder, 0.75) is not None
    assert furthest(weights(plain), weights(job)) == 0.0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_ranks_write_what_one_process_writes(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    alone = make_job("npo", export_shares=[0.5], export_dir=str(tmp_path / "alone"))
    run_worker(alone, benchmark=benchmark)
    settings: dict[str, dict[str, Any]] = {
        "ddp": {},
        "zero2": {"backend": "deepspeed", "zero_stage": 2},
        "zero3": {"backend": "deepspeed", "zero_stage": 3},
    }
    jobs = {
        name: make_job("npo", export_shares=[0.5], export_dir=str(tmp_path / name), **values)
        for name, values in settings.items()
    }
    run_on_ranks(jobs, benchmark, tmp_path / "ranks")
    for name in jobs:
        assert furthest(at(tmp_path / "alone", "0.5"), at(tmp_path / name, "0.5")) < 1e-6, name
        assert json.loads((tmp_path / name / "0.5" / "outcome.json").read_text())["world_size"] == 2
