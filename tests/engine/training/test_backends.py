"""Backends and ranks change no weight. Oracle: the torch backend in this process, on the same job.

A step moves most weights by some 1e-4 (the learning rate is 1e-3), so the bound of 1e-6 lies far below one lost row.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

JobMaker = Callable[..., dict[str, Any]]
ROOT = Path(__file__).parents[3]
BUILD = "operators"
KL = {"retain": "kl"}
"""NPO with a KL retain term: a cached and a live reference, terms per sequence and per token."""


def weights(job: Mapping[str, Any]) -> dict[str, Tensor]:
    return load_file(Path(job["output_dir"]) / "model.safetensors")


def furthest(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)


def run_on_ranks(
    jobs: Mapping[str, dict[str, Any]], benchmark: Benchmark, folder: Path, ranks: int = 2
) -> list[dict[str, Any]]:
    """Every job on so many processes with gloo between them; what each rank returned, by the job's name."""
    folder.mkdir()
    (folder / "jobs.json").write_text(json.dumps(jobs))
    (folder / "benchmark.pickle").write_bytes(pickle.dumps(benchmark))
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "TORCH_EXTENSIONS_DIR": str(folder / BUILD),
    }
    started = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "rank_main.py"), str(rank), str(ranks), str(folder)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        complaints = [process.communicate(timeout=280)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * ranks, complaints[0][-3000:] + complaints[-1][-3000:]
    return [json.loads((folder / f"outcomes-{rank}.json").read_text()) for rank in range(ranks)]


def check_ranks(cases: Mapping[str, dict[str, Any]], make_job: JobMaker, benchmark: Benchmark, folder: Path) -> None:
    alone = {clip: make_job("npo", KL, gradient_clip=clip) for clip in (None, 0.5)}
    alone_outcomes = {clip: run_worker(job, benchmark=benchmark) for clip, job in alone.items()}
    assert furthest(weights(alone[None]), weights(alone[0.5])) > 1e-5
    jobs = {name: make_job("npo", KL, **values) for name, values in cases.items()}
    outcomes = run_on_ranks(jobs, benchmark, folder)
    for name, job in jobs.items():
        expected, (first, second) = alone_outcomes[job["training"]["gradient_clip"]], (rank[name] for rank in outcomes)
        assert furthest(weights(alone[job["training"]["gradient_clip"]]), weights(job)) < 1e-6, name
        assert first["terms"] == second["terms"]
        assert first["terms"] == pytest.approx(expected["terms"], rel=1e-4, abs=1e-6)
        assert (first["world_size"], first["tokens"]) == (2, expected["tokens"])


def zero(stage: int, size: int | None, clip: float | None) -> dict[str, Any]:
    return {"backend": "deepspeed", "zero_stage": stage, "micro_batch_size": size, "gradient_clip": clip}


@pytest.mark.timeout(300)
def test_two_ranks_are_one(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    """Batches of 5, 5 and 1 rows over 2 ranks: uneven shares, empty micro-batches, a rank without a row.

    DeepSpeed would compile C++ at its first start on a CPU; the empty build folder it is given must stay empty.
    """
    cases = {
        "torch": {},
        "torch, micro-batches, clipped": {"micro_batch_size": 1, "gradient_clip": 0.5},
        "ZeRO-2, micro-batches": zero(2, 1, None),
        "ZeRO-3, clipped": zero(3, None, 0.5),
    }
    check_ranks(cases, make_job, benchmark, tmp_path / "ranks")
    build = tmp_path / "ranks" / BUILD
    assert not build.exists() or list(build.rglob("*")) == []


SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "grouped": ("npo+surgery", {}),
    "per tensor": ("npo+surgery", {"surgery_scope": "per_tensor", "surgery_rule": "normalised"}),
    "moved weights": ("npo+sam", {"sam_rho": 0.1}),
    "moved twice": ("npo+cr", {"cr_weight": 1.0, "cr_radius": 0.1}),
    "remembered": ("npo+gru", {"gru_gamma": 0.5}),
    "collapsed": ("graddiff+cir", {"cir_inputs": 2, "cir_gradients": 2}),
    "masked": ("npo+mudman", {}),
    "agreement": ("npo+gao", {"gao_paraphrases": 2, "gao_agree": 2, "gao_rho": 2.0}),
    "agreement by row": ("npo+gao", {"gao_paraphrases": 2, "gao_agree": 2, "gao_rho": 2.0, "gao_scope": "row"}),
    "squared": ("npo+irm", {"irm_weight": 5.0}),
    "squared and grouped": ("npo+irm+sam", {"irm_weight": 5.0}),
    "inner steps": ("graddiff+tar", {"tar_learning_rate": 1e-3}),
    "pushed states": ("npo+lat", {"lat_radius": 0.5}),
    "one layer": ("rmu", {"trainable": "up_to_layer", "layer": 0.5}),
    "noised": ("undo", {"alpha": 0.5, "beta": 0.5}),
    "average": ("npo+weight_avg", {}),
    "stages": ("npo+sam>simnpo", {"switch_at": 0.5}),
}
"""Every way in which a gradient comes about."""


def check_shapes(
    settings: Mapping[str, dict[str, Any]], make_job: JobMaker, benchmark: Benchmark, folder: Path
) -> None:
    """Each shape on two ranks, under every setting, against one process; and that it is not what plain NPO gives."""
    plain = make_job("npo")
    run_worker(plain, benchmark=benchmark)
    alone = {shape: make_job(method, params) for shape, (method, params) in SHAPES.items()}
    for shape, job in alone.items():
        run_worker(job, benchmark=benchmark)
        assert furthest(weights(plain), weights(job)) > 1e-5, f"{shape} is plain NPO"
    jobs = {
        f"{shape}, {setting}": make_job(method, params, **values)
        for shape, (method, params) in SHAPES.items()
        for setting, values in settings.items()
    }
    run_on_ranks(jobs, benchmark, folder)
    far = {name: furthest(weights(alone[name.split(", ")[0]]), weights(job)) for name, job in jobs.items()}
    assert {name: distance for name, distance in far.items() if distance >= 1e-6} == {}


@pytest.mark.timeout(300)
def test_two_ranks_are_one_for_every_gradient_shape(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    check_shapes({"torch": {}}, make_job, benchmark, tmp_path / "ranks")


SETTINGS: dict[str, dict[str, Any]] = {
    "torch by 1": {"micro_batch_size": 1},
    "ZeRO-1": zero(1, None, None),
    "ZeRO-2 by 2": zero(2, 2, None),
    "ZeRO-3": zero(3, None, None),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("setting", SETTINGS)
def test_two_ranks_are_one_for_every_gradient_shape_under_zero(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, setting: str
) -> None:
    check_shapes({setting: SETTINGS[setting]}, make_job, benchmark, tmp_path / "ranks")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_ranks_are_one_in_the_other_stages(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    settings = [(0, 1, 0.5), (0, None, None), (1, 1, 0.5), (1, None, None), (2, 1, 0.5), (3, 1, None)]
    cases = {f"ZeRO-{stage} by {size}, clip {clip}": zero(stage, size, clip) for stage, size, clip in settings}
    check_ranks(cases, make_job, benchmark, tmp_path / "ranks")


def test_zero_in_this_process_leaves_no_trace(make_job: JobMaker, benchmark: Benchmark) -> None:
    alone, again = make_job(), [make_job(backend="deepspeed", zero_stage=stage) for stage in (2, 3, 2)]
    run_worker(alone, benchmark=benchmark)
    for job in again:
        outcome = run_worker(job, benchmark=benchmark)
        assert furthest(weights(alone), weights(job)) < 1e-6
        assert outcome["backend"] == f"deepspeed ZeRO-{job['training']['zero_stage']}"
        assert not torch.distributed.is_initialized()
        assert "LOCAL_RANK" not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_zero_in_bfloat16(make_job: JobMaker, benchmark: Benchmark, stage: int) -> None:
    """Weights of the torch backend in bfloat16, to within one rounding of bfloat16 of a weight of 1."""
    values = {"dtype": "bfloat16", "learning_rate": 1e-3}
    torch_job, zero_job = make_job(**values), make_job(**values, backend="deepspeed", zero_stage=stage)
    run_worker(torch_job, benchmark=benchmark)
    run_worker(zero_job, benchmark=benchmark)
    assert {value.dtype for value in weights(zero_job).values()} == {torch.bfloat16}
    assert furthest(weights(torch_job), weights(zero_job)) <= 2**-7
