"""LoRA. Oracles: the start model's own bits under the adapters, their product worked out, a plain loop's equality."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor

from tests.engine.training.test_backends import furthest, run_on_ranks, weights
from tests.engine.training.test_forward import made_up_items
from unlearn_sweep.engine.models.loading import load_model
from unlearn_sweep.engine.training.forward import SupervisedLM, pack
from unlearn_sweep.engine.training.lora import AdaptersOff, adapted_layers, adapters, add_adapters, merge_adapters
from unlearn_sweep.engine.training.settings import LoraSettings
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.methods.catalog import METHODS
from unlearn_sweep.methods.interface import Needs

Targets = Literal["all", "attention", "query_value"]
JobMaker = Callable[..., dict[str, Any]]
LORA = {"rank": 2, "alpha": 8.0, "dropout": 0.0, "targets": "all"}
ALL = Needs(views=("forget",))


def changed(job: dict[str, Any]) -> set[str]:
    before = load_file(Path(job["start_model"]) / "model.safetensors")
    after = weights(job)
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("method", "params", "parts"),
    [
        ("npo", {}, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
        ("rmu", {"layer": 0.5}, ("layers.0.mlp.down_proj",)),
        ("jensun", {}, ("proj",)),
    ],
)
def test_only_adapted_layers_change(
    make_job: JobMaker, benchmark: Benchmark, method: str, params: dict[str, Any], parts: tuple[str, ...]
) -> None:
    job = make_job(method, params, lora=LORA, learning_rate=1e-2)
    outcome = run_worker(job, benchmark=benchmark)
    names = changed(job)
    assert names
    assert all(any(part in name for part in parts) for name in names)
    assert all(any(part in name for name in names) for part in parts)
    assert outcome["weights_finite"]


@pytest.mark.parametrize(("layers", "block"), [("lower", "layers.0."), ("upper", "layers.1.")])
def test_half_of_the_layers_are_adapted(make_job: JobMaker, benchmark: Benchmark, layers: str, block: str) -> None:
    job = make_job("npo", lora=LORA | {"layers": layers}, learning_rate=1e-2)
    run_worker(job, benchmark=benchmark)
    assert changed(job)
    assert all(block in name for name in changed(job))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_what_is_not_adapted_alone(make_job: JobMaker, benchmark: Benchmark, method: str) -> None:
    job = make_job(method, {"steering": 50.0} if method == "rab" else {}, lora=LORA, learning_rate=1e-2)
    run_worker(job, benchmark=benchmark)
    names = changed(job)
    assert names
    assert all("_proj.weight" in name for name in names)


def test_the_saved_model_is_ordinary_and_of_low_rank_difference(make_job: JobMaker, benchmark: Benchmark) -> None:
    job = make_job("npo", lora=LORA, learning_rate=1e-2)
    run_worker(job, benchmark=benchmark)
    before, after = load_file(Path(job["start_model"]) / "model.safetensors"), weights(job)
    name = "model.layers.0.mlp.up_proj.weight"
    difference = (after[name] - before[name]).double()
    sizes = torch.linalg.svdvals(difference)
    assert sizes[1] > 0
    assert sizes[2] < 1e-5 * sizes[0]
    assert load_model(job["output_dir"], device="cpu").num_parameters() == sum(v.numel() for v in after.values())


def test_merged_and_adapted_models_agree(start_model: Path) -> None:
    model, packed = load_model(str(start_model), device="cpu"), pack({"a": made_up_items(4)}, torch.device("cpu"))
    plain = SupervisedLM(model).eval().outputs(packed).logits
    add_adapters(model, LoraSettings(rank=2), ALL, ())
    module = SupervisedLM(model).eval()
    torch.manual_seed(0)
    for _, layer in adapters(model):
        for name, parameter in layer.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    adapted = module.outputs(packed).logits
    assert (adapted - plain).abs().max() > 1e-2
    torch.testing.assert_close(AdaptersOff(module).outputs(packed).logits, plain)
    torch.testing.assert_close(module.outputs(packed).logits, adapted, rtol=0, atol=0)
    assert all(p.requires_grad == ("lora_" in name) for name, p in model.named_parameters())
    merge_adapters(model)
    assert adapters(model) == []
    torch.testing.assert_close(module.outputs(packed).logits, adapted, rtol=1e-4, atol=1e-5)


def test_attention_only(start_model: Path) -> None:
    model = load_model(str(start_model), device="cpu")
    names = adapted_layers(model, LoraSettings(targets="attention"), ALL, ())
    assert {name.rpartition(".")[2] for name in names} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert len(names) == 4 * model.config.num_hidden_layers


def test_queries_and_values_only(start_model: Path) -> None:
    """As RWKU's scripts have it: --lora_target q_proj,v_proj."""
    model = load_model(str(start_model), device="cpu")
    names = adapted_layers(model, LoraSettings(targets="query_value"), ALL, ())
    assert {name.rpartition(".")[2] for name in names} == {"q_proj", "v_proj"}
    assert len(names) == 2 * model.config.num_hidden_layers


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        ("all", ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
        ("attention", ["q_proj", "k_proj", "v_proj", "o_proj"]),
        ("query_value", ["q_proj", "v_proj"]),
    ],
)
def test_training_and_merging_are_those_of_peft(start_model: Path, targets: Targets, layers: list[str]) -> None:
    """Oracle: `get_peft_model`, the same five steps, `merge_and_unload`."""
    ours = load_model(str(start_model), device="cpu")
    plain: Any = get_peft_model(
        load_model(str(start_model), device="cpu"), LoraConfig(r=4, lora_alpha=8, target_modules=layers, bias="none")
    )
    add_adapters(ours, LoraSettings(rank=4, alpha=8.0, targets=targets), ALL, ())
    trained = {name: weight for name, weight in ours.named_parameters() if weight.requires_grad}
    theirs = {name.removeprefix("base_model.model."): w for name, w in plain.named_parameters() if w.requires_grad}
    assert trained.keys() == theirs.keys()
    with torch.no_grad():
        for name, weight in trained.items():
            theirs[name].copy_(weight)
    ids = torch.randint(3, 200, (4, 12), generator=torch.Generator().manual_seed(0))
    for model in (ours, plain):
        optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
        for _ in range(5):
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    merge_adapters(ours)
    merged = plain.merge_and_unload().state_dict()
    assert merged.keys() == ours.state_dict().keys()
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(weight, merged[name], rtol=1e-5, atol=1e-7)


def test_nothing_to_adapt_is_said(start_model: Path) -> None:
    needs = Needs(views=("forget",), layers=(0.5,), logits=False, trainable="down_projections")
    with pytest.raises(ValueError, match="no linear layer to adapt"):
        add_adapters(load_model(str(start_model), device="cpu"), LoraSettings(targets="attention"), needs, (0,))


@pytest.mark.timeout(300)
def test_two_ranks_are_one(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    """A cached and a live reference (the adapters off), a moved gradient; DDP, ZeRO-2 and ZeRO-3."""
    methods = {"npo": ("npo", {"retain": "kl"}), "sam": ("npo+sam", {"sam_rho": 0.1})}
    backends: dict[str, dict[str, Any]] = {
        "torch": {},
        "ZeRO-2": {"backend": "deepspeed", "zero_stage": 2},
        "ZeRO-3": {"backend": "deepspeed", "zero_stage": 3},
    }
    alone = {name: make_job(*method, lora=LORA) for name, method in methods.items()}
    for job in alone.values():
        run_worker(job, benchmark=benchmark)
        assert changed(job)
    jobs = {f"{name}, {b}": make_job(*methods[name], lora=LORA, **v) for name in methods for b, v in backends.items()}
    run_on_ranks(jobs, benchmark, tmp_path / "ranks")
    far: dict[str, float] = {name: far_from(alone[name.split(", ")[0]], job) for name, job in jobs.items()}
    assert {name: distance for name, distance in far.items() if distance >= 1e-6} == {}


def far_from(alone: dict[str, Any], job: dict[str, Any]) -> float:
    a: dict[str, Tensor] = weights(alone)
    return furthest(a, weights(job))
