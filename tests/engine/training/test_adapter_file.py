"""Models made again from kept adapters. Oracle: every file that the training itself exported, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from unlearn_sweep.engine.store.marks import mark_files
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

JobMaker = Callable[..., dict[str, Any]]
LORA = {"rank": 2, "alpha": 8.0, "dropout": 0.0, "targets": "all"}


def again(job: dict[str, Any], adapter: Path, outcome: dict[str, Any], output: Path) -> dict[str, Any]:
    """The job that makes the model of `job` from its adapter, in a folder of its own."""
    kept = {"path": str(adapter), "outcome": outcome}
    return {**job, "adapter_file": None, "export_shares": [], "kept_adapter": kept, "output_dir": str(output)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("method", "params"), [("npo", {}), ("rmu", {"layer": 0.5}), ("task_vector", {})])
def test_the_model_is_the_trained_one_to_the_bit(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, method: str, params: dict[str, Any], dtype: str
) -> None:
    adapter = tmp_path / "adapter.safetensors"
    job = make_job(method, params, lora=LORA, learning_rate=1e-2, dtype=dtype, adapter_file=str(adapter))
    outcome = run_worker(job, benchmark=benchmark)
    made = run_worker(again(job, adapter, outcome, tmp_path / "again"), benchmark=benchmark)
    assert made == outcome
    assert mark_files(tmp_path / "again") == mark_files(Path(job["output_dir"]))
    start, end = (load_file(Path(f) / "model.safetensors") for f in (job["start_model"], job["output_dir"]))
    assert any(not torch.equal(start[name].to(end[name].dtype), end[name]) for name in end)


def test_a_share_of_a_training_leaves_its_adapter_too(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    asked = {"export_shares": [0.5], "export_dir": str(tmp_path / "shares"), "adapter_file": str(tmp_path / "last")}
    job = make_job("npo", lora=LORA, learning_rate=1e-2, max_steps=4, **asked)
    outcome = run_worker(job, benchmark=benchmark)
    share = tmp_path / "shares" / "0.5"
    run_worker(again(job, share / "last", outcome, tmp_path / "again"), benchmark=benchmark)
    assert mark_files(tmp_path / "again") == mark_files(share / "model")
    assert mark_files(share / "model") != mark_files(Path(job["output_dir"]))


def test_an_adapter_of_other_settings_is_refused(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.safetensors"
    job = make_job("npo", lora=LORA, max_steps=1, adapter_file=str(adapter))
    outcome = run_worker(job, benchmark=benchmark)
    weights = load_file(adapter)
    save_file(dict(list(weights.items())[1:]), adapter)
    with pytest.raises(ValueError, match="not those that these settings train"):
        run_worker(again(job, adapter, outcome, tmp_path / "again"), benchmark=benchmark)
