"""Collapsed gradients of a real model. Oracles: hooks on a twin of it with the sums written out, and plain training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from tests.engine.training.test_backends import furthest, weights
from unlearn_sweep.engine.training.collapse import Collapse
from unlearn_sweep.engine.training.forward import Packed
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.model_parts import mlp_layers
from unlearn_sweep.methods.cir import common_directions, without_common
from unlearn_sweep.methods.interface import CollapseSettings

JobMaker = Callable[..., dict[str, Any]]
LENGTHS = (7, 4)


def model() -> LlamaForCausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=50, hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, mlp_bias=True,
        )  # fmt: skip
        return LlamaForCausalLM(config)


def packed() -> Packed:
    ids = torch.randint(50, (2, 7), generator=torch.Generator().manual_seed(1))
    nothing = torch.zeros(0, dtype=torch.long)
    return Packed(input_ids=ids, positions=nothing, targets=nothing, parts={}, tokens=11, lengths=torch.tensor(LENGTHS))


def loss(of: LlamaForCausalLM, batch: Packed) -> Tensor:
    """Over the tokens that are no padding."""
    logits = of(input_ids=batch.input_ids).logits
    return torch.stack([logits[row, : LENGTHS[row]].square().sum() for row in range(2)]).sum()


def watch(layer: nn.Linear, seen: dict[str, Tensor], mask: Tensor) -> None:
    """Keep the layer's inputs as "a" and the gradient at its outputs as "g", at the tokens of the mask."""

    def before(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen["a"] = args[0].detach()[mask]

    def behind(_: nn.Module, slopes: tuple[Tensor, ...]) -> None:
        seen["g"] = slopes[0].detach()[mask]

    layer.register_forward_pre_hook(before)
    layer.register_full_backward_pre_hook(behind)  # pyright: ignore[reportArgumentType] -- one output, one slope


def settings(inputs: int, gradients: int) -> CollapseSettings:
    return CollapseSettings(
        inputs=inputs, gradients=gradients, refresh=0.5, common=common_directions, remove=without_common
    )


def test_the_gradient_is_the_sum_over_tokens_of_what_is_left_of_both() -> None:
    """The twin's own inputs and output gradients, cut to real tokens behind the first, collapsed and multiplied."""
    made, twin, batch = model(), model(), packed()
    collapse = Collapse.of(settings(2, 3), made, steps=2)
    mask = (torch.arange(7) < batch.lengths[:, None]) & (torch.arange(7) > 0)
    seen: dict[str, dict[str, Tensor]] = {name: {} for name, _ in mlp_layers(twin)}
    for name, layer in mlp_layers(twin):
        watch(layer, seen[name], mask)
    loss(twin, batch).backward()
    with collapse.during(batch):
        first = loss(made, batch)
    first.backward()
    assert collapse.mask is None
    for name, layer in mlp_layers(made):  # nothing is common yet, so nothing is forgotten
        assert layer.weight.grad is not None
        assert layer.weight.grad.abs().max() == 0.0, name
    attention = "model.layers.1.self_attn.q_proj.weight"
    torch.testing.assert_close(made.get_parameter(attention).grad, twin.get_parameter(attention).grad)
    bias = "model.layers.0.mlp.gate_proj.bias"
    torch.testing.assert_close(made.get_parameter(bias).grad, twin.get_parameter(bias).grad)

    collapse.after_step(0, Ranks.current())
    made.zero_grad()
    with collapse.during(batch):
        again = loss(made, batch)
    again.backward()
    for name, layer in mlp_layers(made):
        left = {}
        for kind, number in (("a", 2), ("g", 3)):
            vectors = seen[name][kind]
            common = common_directions(vectors.sum(0), vectors.T @ vectors, float(vectors.shape[0]), number)
            left[kind] = without_common(vectors, common)
        expected = torch.einsum("ti,tj->ij", left["g"], left["a"])
        torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-3, atol=1e-4)
        assert layer.weight.grad is not None
        assert layer.weight.grad.abs().max() > 1e-3


def test_with_nothing_to_take_out_it_is_the_usual_gradient_but_for_first_tokens() -> None:
    made, twin, batch = model(), model(), packed()
    collapse = Collapse.of(settings(0, 0), made, steps=1)
    collapse.after_step(0, Ranks.current())
    last = loss(made, batch)  # outside of `during` nothing is changed at all
    last.backward()
    loss(twin, batch).backward()
    for name, weight in twin.named_parameters():
        torch.testing.assert_close(made.get_parameter(name).grad, weight.grad)


def test_only_mlp_matrices_train_and_they_forget(make_job: JobMaker, benchmark: Benchmark) -> None:
    job = make_job("graddiff+cir", {"cir_inputs": 2, "cir_gradients": 2})
    outcome = run_worker(job, benchmark=benchmark)
    start = load_file(Path(job["start_model"]) / "model.safetensors")
    moved = {name for name, weight in weights(job).items() if not torch.equal(weight, start[name])}
    assert moved == {name for name in start if ".mlp." in name}
    assert outcome["stopped_early"] is None


def test_micro_batches_are_the_whole_batch(make_job: JobMaker, benchmark: Benchmark) -> None:
    params = {"cir_inputs": 3, "cir_gradients": 2}
    whole, split = make_job("npo+cir", params), make_job("npo+cir", params, micro_batch_size=2)
    for job in (whole, split):
        run_worker(job, benchmark=benchmark)
    assert furthest(weights(whole), weights(split)) < 1e-5
    plain = make_job("npo")
    run_worker(plain, benchmark=benchmark)
    assert furthest(weights(whole), weights(plain)) > 1e-4


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"lora": {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": "all"}}, "train without lora"),
        ({"activation_checkpointing": True}, "no activation_checkpointing"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    make_job: JobMaker, benchmark: Benchmark, values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        run_worker(make_job("npo+cir", {}, **values), benchmark=benchmark)
