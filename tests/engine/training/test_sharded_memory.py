"""Memory of each rank falls as one over the number of ranks. Oracles: bytes a parameter counted by hand; the kernel."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.engine.training.test_backends import ROOT, furthest, weights
from unlearn_sweep.engine.models.loading import load_tokenizer
from unlearn_sweep.engine.out_of_memory import says_out_of_memory
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

JobMaker = Callable[..., dict[str, Any]]
MIB = 2**20
TIMEOUT_S = 600
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
"""glibc returns what is freed. By default it keeps pieces of up to 32 MiB, here half as much memory again."""
ZERO_3 = {"backend": "deepspeed", "zero_stage": 3}
BYTES_A_PARAMETER = 4 + 4 + 4 + 8
"""Float32 under ZeRO stage 3: the shard, the optimizer's copy of it, its gradient, and AdamW's two moments."""


@pytest.fixture(scope="module")
def large_model(start_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A Llama of some 110 million float32 parameters, most of them in 8 blocks, with the small model's tokenizer."""
    folder = tmp_path_factory.mktemp("large") / "model"
    tokenizer = load_tokenizer(str(start_model))
    shape: dict[str, Any] = {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 8,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 256,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    config = LlamaConfig(**shape)
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model.num_parameters()


def watched(
    job: dict[str, Any], benchmark: Benchmark, folder: Path, ranks: int, *, limit_mib: float | None = None
) -> list[Any]:
    """Train on so many ranks; each one's outcome and peaks in MiB, or its complaint where it failed."""
    folder.mkdir()
    (folder / "watched.json").write_text(json.dumps({"job": job, "limit_mib": limit_mib}))
    (folder / "benchmark.pickle").write_bytes(pickle.dumps(benchmark))
    environment = os.environ | ALLOCATOR | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    main = str(Path(__file__).parent / "memory_main.py")
    said = [folder / f"said-{rank}.txt" for rank in range(ranks)]
    started = []
    for rank, file in enumerate(said):
        with file.open("w") as log:
            command = [sys.executable, main, str(rank), str(ranks), str(folder)]
            started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log))
    wait_for(started)
    files = [folder / f"memory-{rank}.json" for rank in range(ranks)]
    return [
        json.loads(file.read_text()) if file.is_file() else log.read_text()
        for file, log in zip(files, said, strict=True)
    ]


def wait_for(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until all have ended, or one has failed: the others would wait for it in a collective."""
    end = time.monotonic() + TIMEOUT_S
    try:
        while any(process.poll() is None for process in started) and time.monotonic() < end:
            if any(process.poll() for process in started):
                break
            time.sleep(0.2)
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_memory_falls_as_one_over_the_ranks(
    large_model: tuple[Path, int], make_job: JobMaker, benchmark: Benchmark, tmp_path: Path
) -> None:
    folder, parameters = large_model
    assert parameters > 100_000_000
    whole = parameters * BYTES_A_PARAMETER / MIB
    found: dict[int, dict[str, float]] = {}
    for ranks in (1, 2, 4):
        job = make_job("npo", {"retain": "nll"}, start_model=str(folder), max_steps=2, **ZERO_3)
        outcomes = watched(job, benchmark, tmp_path / f"ranks-{ranks}", ranks)
        assert all(isinstance(outcome, dict) for outcome in outcomes), outcomes
        found[ranks] = {phase: max(each["peaks"][phase] for each in outcomes) for phase in ("loading", "training")}
    print(f"{parameters} parameters, {whole:.0f} MiB in all, MiB a rank: {found}")
    largest = 1024 * 3072 * 4 / MIB
    buffers = 0.3 * parameters * 4 / MIB + 3 * largest + 250
    """Weights gathered at one time (10 %), two buffers for sums (5 % each), a few weights, what libraries take."""
    for ranks, peaks in found.items():
        assert peaks["training"] < whole / ranks + buffers, ranks
    assert found[1]["training"] > 0.9 * whole
    assert found[2]["training"] < 0.62 * found[1]["training"]
    assert found[4]["training"] < 0.42 * found[1]["training"]


LIMIT_BYTES_A_PARAMETER = 14
"""Of address space. Below weights, gradients and moments in float32 (16); a quarter of these, and rank 0's two maps of
the weight file (8) while it loads, lie below it."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_limit_that_a_whole_model_does_not_pass(
    large_model: tuple[Path, int], make_job: JobMaker, benchmark: Benchmark, tmp_path: Path
) -> None:
    """Under one limit of the kernel's (RLIMIT_AS), four ranks train and export, and a process with all of it fails.

    Oracle: the same training here, without a limit. It shows too that the limit alone is what stops the other two.
    """
    folder, parameters = large_model
    limit = LIMIT_BYTES_A_PARAMETER * parameters / MIB

    def job(**backend: Any) -> dict[str, Any]:
        return make_job("npo", {"retain": "nll"}, start_model=str(folder), max_steps=2, **backend)

    for name, backend in {"torch": {}, "ZeRO-0": {"backend": "deepspeed", "zero_stage": 0}}.items():
        (said,) = watched(job(**backend), benchmark, tmp_path / name, 1, limit_mib=limit)
        assert isinstance(said, str), f"{name} fitted: {said}"
        assert says_out_of_memory(said), said
    whole, sharded = job(), job(**ZERO_3)
    ranks = watched(sharded, benchmark, tmp_path / "four", 4, limit_mib=limit)
    assert all(isinstance(rank, dict) for rank in ranks), ranks
    print(f"limit {limit:.0f} MiB: {[rank['peaks'] for rank in ranks]}")
    expected = run_worker(whole, benchmark=benchmark)
    found = ranks[0]["outcome"]
    assert [rank["outcome"]["steps"] for rank in ranks] == [2] * 4
    assert expected["relative_change"] > 0
    assert found["relative_change"] == pytest.approx(expected["relative_change"], rel=1e-4)
    assert furthest(weights(whole), weights(sharded)) < 1e-5
