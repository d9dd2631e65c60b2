"""Soft tokens trained on workers. Oracle: the attack's own loop in this process, `SoftPrompt.run`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.engine.training.conftest import made_up_benchmark
from tests.engine.training.test_backends import run_on_ranks
from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.training import attack_training
from unlearn_sweep.engine.training.any_training import run_any_training, run_any_worker
from unlearn_sweep.engine.training.attack_states import SOFT_TOKENS, read_states
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.soft_prompt_training import put_soft_tokens, train_soft_prompt, write_soft_tokens
from unlearn_sweep.evaluators.attacks.attack import Target, TrainedTokens
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.soft_prompt import SoftEmbedding, SoftPrompt
from unlearn_sweep.evaluators.attacks.training_params import TRAINS_TOKENS_ELSEWHERE
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.limits import fitted

JobMaker = Callable[..., dict[str, Any]]
PARAMS: dict[str, Any] = {"iterations": [0, 2, 6], "soft_tokens": 3, "step_size": 1e-2, "batch_size": 5}


@pytest.fixture(scope="session")
def benchmark() -> Benchmark:
    """The made-up rows, with forget facts to ask for."""
    made = made_up_benchmark(36, 17)
    return replace(made, evaluation={"forget": made.train["forget"]})


def soft_job(make_job: JobMaker, **values: Any) -> dict[str, Any]:
    settings = {"optimizer": "sign_sgd", "weight_decay": 0.0, "global_batch_size": PARAMS["batch_size"]}
    return make_job(attack={"name": "soft_prompt", "params": PARAMS}, **settings, **values)


def target_of(job: dict[str, Any], benchmark: Benchmark) -> Target:
    model, tokenizer = load_model(job["start_model"], device="cpu"), load_tokenizer(job["start_model"])
    return Target(model=model, tokenizer=tokenizer, benchmark=fitted(benchmark, tokenizer, 256), seed=job["seed"])


def tokens_in(model: Any) -> Tensor:
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, SoftEmbedding)
    return embedding.soft.detach().clone()


def oracle(job: dict[str, Any], benchmark: Benchmark) -> dict[float, tuple[Tensor, dict[str, float]]]:
    """Soft tokens and notes of the states in one process, by their updates."""
    attack = build("soft_prompt", job["attack"]["params"])
    states = attack.run(target_of(job, benchmark))
    return {state.strength: (tokens_in(state.model), state.notes or {}) for state in states}


def trained_tokens(folder: Path) -> list[TrainedTokens]:
    return [
        TrainedTokens(step=state.step, embeddings=load_file(state.folder / SOFT_TOKENS)["embeddings"])
        for state in read_states(folder)
    ]


def check(job: dict[str, Any], benchmark: Benchmark) -> None:
    """The tokens are those of the oracle, and a model asked with them gives the oracle's numbers."""
    expected, found = oracle(job, benchmark), trained_tokens(Path(job["output_dir"]))
    assert [state.step for state in found] == list(expected)
    assert float((expected[6][0] - expected[0][0]).abs().max()) > 1e-2
    for state in found:
        torch.testing.assert_close(state.embeddings, expected[state.step][0], atol=1e-5, rtol=1e-5)
    target = replace(target_of(job, benchmark), trained_tokens=lambda: iter(found))
    for asked in build("soft_prompt", job["attack"]["params"]).run(target):
        assert asked.notes == pytest.approx(expected[asked.strength][1], rel=1e-5, abs=1e-7)


ZERO = {"backend": "deepspeed"}


@pytest.mark.parametrize(
    "values",
    [{}, {"micro_batch_size": 2}, ZERO | {"zero_stage": 2}, ZERO | {"zero_stage": 3}],
    ids=["torch", "micro-batches", "ZeRO-2", "ZeRO-3"],
)
def test_a_worker_gives_the_tokens_of_the_attacks_own_loop(
    make_job: JobMaker, benchmark: Benchmark, values: dict[str, Any]
) -> None:
    job = soft_job(make_job, **values)
    outcome = run_any_worker(job, benchmark=benchmark)
    check(job, benchmark)
    assert (outcome["steps"], outcome["global_batch_rows"]) == (6, 5)


def test_recomputed_activations_change_nothing(make_job: JobMaker, benchmark: Benchmark) -> None:
    job = soft_job(make_job, activation_checkpointing=True)
    run_any_worker(job, benchmark=benchmark)
    check(job, benchmark)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_ranks_are_one(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    """Batches of 5 over 2 ranks: uneven shares, and by 1 a rank without a row."""
    cases = {
        "torch": soft_job(make_job),
        "ZeRO-1": soft_job(make_job, zero_stage=1, **ZERO),
        "ZeRO-3": soft_job(make_job, zero_stage=3, **ZERO),
        "ZeRO-3 by 1": soft_job(make_job, zero_stage=3, micro_batch_size=1, **ZERO),
    }
    run_on_ranks(cases, benchmark, tmp_path / "ranks")
    for job in cases.values():
        check(job, benchmark)


def test_memory_that_gives_out_ends_the_step(
    make_job: JobMaker, benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack_training, "token_nll", lambda *_: torch.empty(2**52))
    with pytest.raises(MemoryError, match="in step 1 with 5 rows in one pass"):
        run_any_training(TrainJob.from_json(soft_job(make_job)), benchmark=benchmark)


def test_tokens_that_are_not_finite_are_told(start_model: Path, tmp_path: Path) -> None:
    """What `train_states` makes an error of the attacker's, as for weights."""
    model = load_model(str(start_model), device="cpu")
    attack = build("soft_prompt", PARAMS)
    assert isinstance(attack, SoftPrompt)
    soft = put_soft_tokens(attack, model, 0)
    assert write_soft_tokens(soft, tmp_path / "finite")
    with torch.no_grad():
        soft.soft[0, 0] = torch.inf
    assert not write_soft_tokens(soft, tmp_path / "infinite")
    assert not write_soft_tokens(soft, None)


def test_other_attacks_are_refused(make_job: JobMaker, benchmark: Benchmark) -> None:
    job = TrainJob.from_json(make_job(attack={"name": "relearn", "params": {}}))
    with pytest.raises(ValueError, match="trains no soft tokens"):
        train_soft_prompt(job, benchmark=benchmark)
    assert {"soft_prompt"} == TRAINS_TOKENS_ELSEWHERE
