"""An attack's training on workers. Oracle: the attacker's own loop in this process, `short_training.train_copy`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.training.conftest import made_up_benchmark
from tests.engine.training.test_backends import furthest, run_on_ranks
from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.training.any_training import run_any_worker
from unlearn_sweep.engine.training.attack_states import read_states
from unlearn_sweep.engine.training.attack_training import TrainingAttack
from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.relearn import Relearn
from unlearn_sweep.evaluators.attacks.short_training import train_copy
from unlearn_sweep.evaluators.attacks.training_params import TRAINS_ELSEWHERE
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.limits import fitted

JobMaker = Callable[..., dict[str, Any]]
PARAMS: dict[str, Any] = {
    "data": "retain",
    "steps": [2, 5],
    "learning_rate": 1e-3,
    "batch_size": 5,
    "weight_decay": 0.1,
}
"""17 rows in batches of 5, one of which holds the end of one pass and the beginning of the next."""


@pytest.fixture(scope="session")
def benchmark() -> Benchmark:
    """The made-up rows, with forget facts to ask for."""
    made = made_up_benchmark(11, 17)
    return replace(made, evaluation={"forget": made.train["forget"]})


def attack_job(make_job: JobMaker, params: dict[str, Any], **values: Any) -> dict[str, Any]:
    lora = {"rank": params["lora_rank"], "alpha": 16.0, "dropout": 0.0} if params.get("lora_rank") else None
    settings = {"gradient_clip": 1.0, "weight_decay": params["weight_decay"], "adam_epsilon": 1e-8, "lora": lora}
    return make_job(attack={"name": "relearn", "params": params}, **settings, **values)


def oracle(job: dict[str, Any], benchmark: Benchmark) -> dict[int, Any]:
    """The states of the loop in one process, by step."""
    model, tokenizer = load_model(job["start_model"], device="cpu"), load_tokenizer(job["start_model"])
    attack = build("relearn", job["attack"]["params"])
    assert isinstance(attack, Relearn)
    examples = attack.examples(fitted(benchmark, tokenizer, 256), tokenizer, job["seed"])
    found = {}
    for state in train_copy(model, examples, attack.params, seed=job["seed"]):
        weights = {name: weight.detach().clone() for name, weight in state.model.named_parameters()}
        found[state.step] = (weights, state.loss, state.first_loss)
    return found


def check_states(job: dict[str, Any], expected: dict[int, Any], start: Path) -> None:
    before = load_file(start / "model.safetensors")
    folder = Path(job["output_dir"])
    states = read_states(folder)
    assert [state.step for state in states] == list(expected)
    for state in states:
        weights, loss, first = expected[state.step]
        assert furthest(weights, before) > 1e-3
        assert furthest(load_file(state.folder / "model.safetensors"), weights) < 1e-5
        assert (state.loss, state.first_loss) == pytest.approx((loss, first), rel=1e-5)


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize(
    "values",
    [{}, {"micro_batch_size": 2}, {"backend": "deepspeed", "zero_stage": 2}, {"backend": "deepspeed", "zero_stage": 3}],
    ids=["torch", "micro-batches", "ZeRO-2", "ZeRO-3"],
)
def test_a_worker_gives_the_states_of_the_attackers_own_loop(
    make_job: JobMaker, benchmark: Benchmark, start_model: Path, values: dict[str, Any], lora_rank: int
) -> None:
    job = attack_job(make_job, PARAMS | {"lora_rank": lora_rank}, **values)
    outcome = run_any_worker(job, benchmark=benchmark)
    check_states(job, oracle(job, benchmark), start_model)
    assert (outcome["steps"], outcome["global_batch_rows"]) == (5, 5)


@pytest.mark.timeout(300)
def test_two_ranks_are_one(make_job: JobMaker, benchmark: Benchmark, start_model: Path, tmp_path: Path) -> None:
    cases = {
        "torch": attack_job(make_job, PARAMS),
        "ZeRO-2 by 1": attack_job(make_job, PARAMS, backend="deepspeed", zero_stage=2, micro_batch_size=1),
        "ZeRO-3": attack_job(make_job, PARAMS, backend="deepspeed", zero_stage=3),
        "ZeRO-3, adapters": attack_job(make_job, PARAMS | {"lora_rank": 2}, backend="deepspeed", zero_stage=3),
    }
    run_on_ranks(cases, benchmark, tmp_path / "ranks")
    for job in cases.values():
        check_states(job, oracle(job, benchmark), start_model)


def test_no_step_leaves_the_model(make_job: JobMaker, benchmark: Benchmark, start_model: Path) -> None:
    job = attack_job(make_job, PARAMS | {"steps": 0})
    run_any_worker(job, benchmark=benchmark)
    before, after = (load_file(folder / "model.safetensors") for folder in (start_model, Path(job["output_dir"], "0")))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_divergence_is_the_attackers_error(make_job: JobMaker, benchmark: Benchmark) -> None:
    job = attack_job(make_job, PARAMS | {"learning_rate": 1.0, "weight_decay": 1e30})
    with pytest.raises(AttackError, match="diverged"):
        run_any_worker(job, benchmark=benchmark)
    assert not Path(job["output_dir"]).exists()


def test_an_attack_without_a_training_is_refused(make_job: JobMaker, benchmark: Benchmark) -> None:
    with pytest.raises(ValueError, match="'prefill' has no examples"):
        run_any_worker(make_job(attack={"name": "prefill", "params": {}}), benchmark=benchmark)


def test_the_attacks_said_to_train_elsewhere_can() -> None:
    assert all(isinstance(build(name, {}), TrainingAttack) for name in TRAINS_ELSEWHERE)
