"""Trainings that start again with fewer rows in one pass, because one rank ran out of memory. The memory error is
torch's own, of an allocation that no machine can make; oracle: the same training, given that size from the start."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.training.test_backends import ROOT, furthest, weights
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training import attack_training, first_rows
from unlearn_sweep.engine.training.any_training import run_any_training
from unlearn_sweep.engine.training.assembly import assemble
from unlearn_sweep.engine.training.cache import DataCache
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.restart import RowsDoNotFitError, rows_tried, trained_where_it_fits
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.methods.token_losses import token_nll

JobMaker = Callable[..., dict[str, Any]]


class Launcher:
    """Runs a job on two processes with gloo between them, and ends both when one fails, as Ray Train does."""

    def __init__(self, benchmark: Benchmark, folder: Path, *, rows: int, spared: int = 0) -> None:
        self.benchmark = benchmark
        self.folder = folder
        self.limits = {"rows": rows, "spared": spared}
        self.tried: list[int | None] = []
        self.outcomes: list[TrainOutcome] = []
        self.smallest: list[list[int | None]] = []

    def __call__(self, job: TrainJob) -> TrainOutcome:
        self.tried.append(job.micro_rows)
        folder = self.folder.with_name(f"{self.folder.name}-{len(self.tried)}")
        folder.mkdir()
        (folder / "hungry.json").write_text(json.dumps({"job": job.model_dump(mode="json"), **self.limits}))
        (folder / "benchmark.pickle").write_bytes(pickle.dumps(self.benchmark))
        said = self._ended([self._started(folder, rank) for rank in range(2)], folder)
        files = [folder / f"outcome-{rank}.json" for rank in range(2)]
        if not all(file.is_file() for file in files):
            raise RuntimeError("Training failed due to worker errors:\n" + said)
        found = [json.loads(file.read_text()) for file in files]
        self.outcomes = [TrainOutcome.model_validate(one["outcome"]) for one in found]
        self.smallest = [one["smallest"] for one in found]
        return self.outcomes[0]

    def _started(self, folder: Path, rank: int) -> subprocess.Popen[bytes]:
        main = str(Path(__file__).parent / "hungry_main.py")
        environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        with (folder / f"said-{rank}.txt").open("w") as log:
            return subprocess.Popen(
                [sys.executable, main, str(rank), "2", str(folder)], env=environment, stdout=log, stderr=log
            )

    def _ended(self, started: list[subprocess.Popen[bytes]], folder: Path) -> str:
        end = time.monotonic() + 200
        while any(process.poll() is None for process in started) and time.monotonic() < end:
            if any(process.poll() for process in started):
                break
            time.sleep(0.1)
        for process in started:
            process.kill()
            process.wait()
        return "\n".join((folder / f"said-{rank}.txt").read_text()[-5000:] for rank in range(2))


ZERO_3 = {"backend": "deepspeed", "zero_stage": 3}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["torch", "ZeRO-2", "ZeRO-3"])
def test_all_ranks_take_the_size_that_fits_one(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, name: str
) -> None:
    """5 rows are 3 and 2 for two ranks; rank 1 cannot hold 2. So 3, 2 and 1 are tried."""
    settings = {"torch": {}, "ZeRO-2": ZERO_3 | {"zero_stage": 2}, "ZeRO-3": ZERO_3}[name]
    found, given = make_job("npo", **settings), make_job("npo", micro_batch_size=1, **settings)
    launch = Launcher(benchmark, tmp_path / "found", rows=1)
    trained_where_it_fits(TrainJob.from_json(found), launch)
    assert launch.tried == [None, 2, 1]
    assert [outcome.micro_batch_rows for outcome in launch.outcomes] == [1, 1]
    expected = Launcher(benchmark, tmp_path / "given", rows=9)(TrainJob.from_json(given))
    assert launch.outcomes[0].tokens == expected.tokens
    assert launch.smallest == [[4, None]] * 2
    assert furthest(weights(found), weights(given)) < 1e-6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_that_ran_out_late_resumes(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    """11 rows are steps of 4, 4, 3 and 4, in which rank 1 has 2, 2, 1 and 2 rows. It has room for its first two passes,
    so the fourth step runs out, and is taken by one row from the checkpoint before it."""
    job = make_job(
        "npo", global_batch_size=4, checkpoint_dir=str(tmp_path / "checkpoints"), checkpoint_every_s=0.0, **ZERO_3
    )
    given = make_job("npo", global_batch_size=4, micro_batch_size=1, **ZERO_3)
    launch = Launcher(benchmark, tmp_path / "found", rows=1, spared=2)
    outcome = trained_where_it_fits(TrainJob.from_json(job), launch)
    assert launch.tried == [None, 1]
    assert (outcome.resumed_at_step, outcome.steps, outcome.micro_batch_rows) == (3, 4, 1)
    Launcher(benchmark, tmp_path / "given", rows=9)(TrainJob.from_json(given))
    assert furthest(weights(job), weights(given)) < 1e-6


@pytest.mark.parametrize("values", [{}, ZERO_3], ids=["torch", "ZeRO-3"])
def test_an_attacks_training_starts_again_too(
    make_job: JobMaker, benchmark: Benchmark, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = replace(benchmark, evaluation={"forget": benchmark.train["forget"]})
    attack = {"name": "relearn", "params": {"data": "retain", "steps": [3], "batch_size": 5, "learning_rate": 1e-3}}
    found, given = make_job(attack=attack, **values), make_job(attack=attack, micro_batch_size=2, **values)
    expected = run_any_training(TrainJob.from_json(given), benchmark=benchmark)
    tried: list[int | None] = []

    def hungry(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if tried[-1] not in (1, 2):
            torch.empty(2**52)
        return token_nll(logits, targets)

    def train(job: TrainJob) -> TrainOutcome:
        tried.append(job.micro_rows)
        return run_any_training(job, benchmark=benchmark)

    monkeypatch.setattr(attack_training, "token_nll", hungry)
    outcome = trained_where_it_fits(TrainJob.from_json(found), train)
    assert tried == [None, 3, 2]
    assert (outcome.micro_batch_rows, outcome.tokens) == (2, expected.tokens)
    one, other = ({"output_dir": str(Path(job["output_dir"], "3"))} for job in (found, given))
    assert furthest(weights(one), weights(other)) < 1e-6


def test_the_size_is_read_from_the_text_of_other_errors() -> None:
    error = RowsDoNotFitError.at(7, 12)
    assert rows_tried(error) == 12
    assert rows_tried(RuntimeError(f"[Rank 3 Error Snippet]:\n  RowsDoNotFitError: {error}\n[Rank 0]: gone")) == 12
    assert rows_tried(RuntimeError("out of memory")) is None


def test_the_size_is_read_from_rays_own_error() -> None:
    """Ray Train shortens what workers say, and one that ran out of memory is not a lost one."""
    from ray.train import WorkerGroupError

    from unlearn_sweep.engine.on_ray.training import loss_behind

    error = WorkerGroupError("[Rank 1 Error Snippet]:\n  ...", {1: RowsDoNotFitError.at(2, 4)})
    assert rows_tried(error) == 4
    assert loss_behind(error) is None


def test_other_errors_end_a_training(make_job: JobMaker) -> None:
    job, calls = TrainJob.from_json(make_job()), []

    def train(job: TrainJob) -> TrainOutcome:
        calls.append(job)
        raise MemoryError("can't allocate memory")

    with pytest.raises(MemoryError):
        trained_where_it_fits(job, train)
    assert len(calls) == 1


@pytest.mark.parametrize(("room_for", "expected"), [(5, None), (4, 3), (2, 2), (0, 1)])
def test_a_gpus_memory_bounds_the_first_rows(
    make_job: JobMaker, benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, room_for: int, expected: int | None
) -> None:
    """By hand: two views of so many rows, 34 bytes for each token, unit and block, 12 for each token and entry."""
    job = TrainJob.from_json(make_job("npo"))
    loaded = assemble(job, benchmark, DataCache())
    training = loaded.training
    tokens = [item.tokens for items in training.views.batch(training.plan, 0).values() for item in items]
    vocabulary = loaded.model.config.vocab_size
    row = 2 * sum(tokens) / len(tokens) * (34 * 2 * 32 + 12 * vocabulary)
    room = 1.5 * 2**30 + 18 * loaded.parameters + (room_for + 0.01) * row
    monkeypatch.setattr(first_rows, "device_gib", lambda device: room / 2**30)

    def first(**values: Any) -> int | None:
        asked = TrainJob.from_json(make_job("npo", **values))
        return first_rows.first_rows(asked, loaded.model, training.run, training.views, training.plan, training.ranks)

    assert first() == expected
    assert first(micro_batch_size=4) == 4
    assert first(micro_rows=2) == (1 if expected == 1 else 2)
    training.close()


def test_published_means_keep_their_micro_batches() -> None:
    assert first_rows.means_over_micro_batches({"beta": 0.1, "compat": "open-unlearning"})
    assert not first_rows.means_over_micro_batches({"compat": "none", "beta": 0.1})
