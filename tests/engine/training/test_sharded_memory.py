"""Memory of each rank falls as one over the number of ranks. Oracles: bytes a parameter counted by hand; the kernel."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.engine.training.test_backends import ROOT
from unlearn_sweep.engine.models.loading import load_tokenizer
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

JobMaker = Callable[..., dict[str, Any]]
MIB = 2**20
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


def watched(job: dict[str, Any], benchmark: Benchmark, folder: Path, ranks: int) -> list[Any]:
    """Train on so many ranks; each one's outcome and peaks in MiB, or its complaint where it failed."""
    folder.mkdir()
    (folder / "watched.json").write_text(json.dumps({"job": job}))
    (folder / "benchmark.pickle").write_bytes(pickle.dumps(benchmark))
    environment = os.environ | ALLOCATOR | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    main = str(Path(__file__).parent / "memory_main.py")
    started = [
        subprocess.Popen(
            [sys.executable, main, str(rank), str(ranks), str(folder)],
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
    files = [folder / f"memory-{rank}.json" for rank in range(ranks)]
    return [
        json.loads(file.read_text()) if file.is_file() else said for file, said in zip(files, complaints, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
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
