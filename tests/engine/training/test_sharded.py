"""Models sharded by ZeRO stage 3. Oracles: the whole model's weights, messages and files, and the torch backend."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import MixtralConfig, MixtralForCausalLM

from tests.engine.training.test_backends import SHAPES, furthest, run_on_ranks, weights
from tests.engine.training.test_wrapped_methods import PARAMS
from unlearn_sweep.engine.models.loading import load_model
from unlearn_sweep.engine.models.weight_files import INDEX, UnplannedTensorError, WeightFiles
from unlearn_sweep.engine.training.deepspeed_backend import engine_config
from unlearn_sweep.engine.training.export import saved_form, whole_weights
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.engine.zero.loading import load_sharded
from unlearn_sweep.engine.zero.session import zero_session
from unlearn_sweep.engine.zero.shards import own_part, parameter_count
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.methods.catalog import METHODS

JobMaker = Callable[..., dict[str, Any]]
ZERO_3 = {"backend": "deepspeed", "zero_stage": 3}
LORA = {"rank": 2, "alpha": 8.0, "dropout": 0.0, "targets": "all"}
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "cached and live reference": ("npo", {"retain": "kl"}, {}),
    "frozen hidden states": ("rmu", {"layer": 0.5}, {}),
    "teacher": ("whp", {}, {}),
    "weights of the start model": ("task_vector", {}, {}),
    "average": ("npo+weight_avg", {}, {}),
    "adapters": ("npo", {"retain": "kl"}, {"lora": LORA}),
    "micro-batches, clipped": ("npo", {}, {"micro_batch_size": 2, "gradient_clip": 0.5}),
}


def settings() -> TrainingSettings:
    return TrainingSettings(backend="deepspeed", zero_stage=3).resolved()


def config(model: Any) -> dict[str, Any]:
    return engine_config(settings(), bfloat16=model.dtype == torch.bfloat16, parameters=parameter_count(model))


@pytest.mark.parametrize("kind", KINDS)
def test_sharded_trains_as_whole(make_job: JobMaker, benchmark: Benchmark, kind: str) -> None:
    method, params, values = KINDS[kind]
    jobs = [make_job(method, params, **values), make_job(method, params, **values, **ZERO_3)]
    whole, sharded = (run_worker(job, benchmark=benchmark) for job in jobs)
    assert furthest(weights(jobs[0]), load_file(Path(jobs[0]["start_model"]) / "model.safetensors")) > 1e-5
    assert furthest(weights(jobs[0]), weights(jobs[1])) < 1e-6
    assert sharded["terms"] == pytest.approx(whole["terms"], rel=1e-4, abs=1e-6)
    assert sharded["parameters"] == whole["parameters"]
    assert sharded["relative_change"] == pytest.approx(whole["relative_change"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_sharded_as_whole(make_job: JobMaker, benchmark: Benchmark, method: str) -> None:
    params = PARAMS.get(method, {})
    jobs = [make_job(method, params), make_job(method, params, **ZERO_3)]
    for job in jobs:
        run_worker(job, benchmark=benchmark)
    assert furthest(weights(jobs[0]), weights(jobs[1])) < 1e-5


@pytest.mark.timeout(300)
def test_two_ranks_are_one(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    """The kinds above on two ranks, 5 rows a step: uneven shards, uneven shares of the reference's rows."""
    alone = {kind: make_job(method, params, **values) for kind, (method, params, values) in KINDS.items()}
    for job in alone.values():
        run_worker(job, benchmark=benchmark)
    jobs = {kind: make_job(method, params, **values, **ZERO_3) for kind, (method, params, values) in KINDS.items()}
    outcomes = run_on_ranks(jobs, benchmark, tmp_path / "ranks")
    assert {
        kind: distance for kind in jobs if (distance := furthest(weights(alone[kind]), weights(jobs[kind]))) >= 1e-6
    } == {}
    assert all(outcome["weights_finite"] for rank in outcomes for outcome in rank.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_loaded_sharded_is_what_is_loaded_whole(start_model: Path, dtype: str) -> None:
    whole = load_model(str(start_model), dtype=dtype, device="cpu")
    with zero_session():
        model = load_sharded(str(start_model), config, dtype=dtype)
        found = {name: weight.clone() for name, weight in whole_weights(model)}
        parts = {name: own_part(weight) for name, weight in model.named_parameters()}
    assert found.keys() == dict(whole.named_parameters()).keys()
    assert all(torch.equal(found[name], weight) for name, weight in whole.named_parameters())
    assert all(torch.equal(parts[name].reshape(-1), weight.reshape(-1)) for name, weight in found.items())
    assert {part.dtype for part in parts.values()} == {whole.dtype}
    for (name, buffer), (_, expected) in zip(model.named_buffers(), whole.named_buffers(), strict=True):
        assert torch.equal(buffer, expected), name


def a_missing_weight(tensors: dict[str, Tensor]) -> None:
    del tensors["model.layers.1.mlp.up_proj.weight"]


def a_strange_weight(tensors: dict[str, Tensor]) -> None:
    tensors["model.layers.2.mlp.up_proj.weight"] = torch.zeros(2, 2)


def another_shape(tensors: dict[str, Tensor]) -> None:
    tensors["model.norm.weight"] = torch.zeros(31)


def no_number(tensors: dict[str, Tensor]) -> None:
    tensors["model.layers.0.mlp.up_proj.weight"][-1, -1] = torch.nan


def an_infinite_one(tensors: dict[str, Tensor]) -> None:
    tensors["model.norm.weight"][0] = torch.inf


def a_head_of_its_own(tensors: dict[str, Tensor]) -> None:
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1


@pytest.mark.parametrize(
    "fault", [a_missing_weight, a_strange_weight, another_shape, no_number, an_infinite_one, a_head_of_its_own]
)
def test_faults_are_refused_in_the_words_of_whole_models(
    start_model: Path, tmp_path: Path, fault: Callable[[dict[str, Tensor]], None]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(start_model, folder)
    tensors = load_file(folder / "model.safetensors")
    fault(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError) as whole:  # noqa: PT011 -- its words are compared
        load_model(str(folder), device="cpu")
    with zero_session(), pytest.raises(type(whole.value)) as sharded:
        load_sharded(str(folder), config)
    assert str(sharded.value) == str(whole.value)


def test_experts_are_loaded_and_saved_as_whole_models_save_them(tmp_path: Path) -> None:
    """transformers joins the experts of a layer when it loads them, and parts them when it saves them."""
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    made = MixtralForCausalLM(MixtralConfig(**shape, num_key_value_heads=2, num_local_experts=3, vocab_size=64))
    made.save_pretrained(tmp_path / "model")
    whole = load_model(str(tmp_path / "model"), device="cpu")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert any("experts.2.w1" in name for name in stored)
    with zero_session():
        model = load_sharded(str(tmp_path / "model"), config)
        found = {name: weight.clone() for name, weight in whole_weights(model)}
        saved = {
            key: value for name, weight in found.items() for key, value in saved_form(model, {name: weight}).items()
        }
    assert all(torch.equal(found[name], weight) for name, weight in whole.named_parameters())
    assert saved.keys() == stored.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in stored.items())


def test_the_folder_is_that_of_a_whole_model(make_job: JobMaker, benchmark: Benchmark) -> None:
    jobs = [make_job(dtype="bfloat16"), make_job(dtype="bfloat16", **ZERO_3)]
    for job in jobs:
        run_worker(job, benchmark=benchmark)
    whole, sharded = (Path(job["output_dir"]) for job in jobs)
    assert {file.name for file in whole.iterdir()} == {file.name for file in sharded.iterdir()}
    for file in whole.glob("*.json"):
        assert json.loads(file.read_text()) == json.loads((sharded / file.name).read_text()), file.name
    assert {value.dtype for value in weights(jobs[1]).values()} == {torch.bfloat16}
    assert load_model(str(sharded), device="cpu").num_parameters() > 0


def test_weights_in_several_files(tmp_path: Path) -> None:
    """Read back by safetensors, and placed by an index: no file has more than 100 bytes but one with one weight."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "matrix": torch.randn(4, 5, generator=generator),
        "half": torch.randn(7, generator=generator).bfloat16(),
        "none": torch.empty(0, 3),
        "number": torch.tensor(3, dtype=torch.int64),
        "large": torch.randn(3, 3, 3, generator=generator),
        "flags": torch.tensor([True, False]),
    }
    files = WeightFiles(tmp_path, {name: tensor.to("meta") for name, tensor in tensors.items()}, largest_file=100)
    for name in reversed(tensors):
        files.write(name, tensors[name])
    files.finish()
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["weight_map"].keys() == tensors.keys()
    assert len(set(index["weight_map"].values())) == 4
    for name, file in index["weight_map"].items():
        read = load_file(tmp_path / file)
        assert torch.equal(read[name], tensors[name])
        size = sum(tensor.numel() * tensor.element_size() for tensor in read.values())
        assert size <= 100 or len(read) == 1
    assert {file.name for file in tmp_path.glob("*.safetensors")} == set(index["weight_map"].values())


def test_a_file_with_gaps_is_refused(tmp_path: Path) -> None:
    files = WeightFiles(tmp_path, {"a": torch.empty(2), "b": torch.empty(3)})
    files.write("a", torch.ones(2))
    for name, tensor in (("c", torch.ones(2)), ("b", torch.ones(2)), ("b", torch.ones(3).half())):
        with pytest.raises(UnplannedTensorError):
            files.write(name, tensor)
    with pytest.raises(UnplannedTensorError, match="b"):
        files.finish()


@pytest.mark.parametrize("shape", [*SHAPES, "smoothing", "gradient norm"])
@pytest.mark.parametrize("stage", [2, 3])
def test_gradients_in_parts_are_whole_ones(make_job: JobMaker, benchmark: Benchmark, shape: str, stage: int) -> None:
    more = {"smoothing": ("npo+rs", {"rs_std": 0.01}), "gradient norm": ("npo+gnr", {"gnr_weight": 0.5})}
    method, params = (SHAPES | more)[shape]
    jobs = [make_job(method, params), make_job(method, params, backend="deepspeed", zero_stage=stage)]
    for job in jobs:
        run_worker(job, benchmark=benchmark)
    assert furthest(weights(jobs[0]), weights(jobs[1])) < 1e-6


@pytest.mark.parametrize(("stage", "offload"), [(1, "optimizer"), (2, "optimizer"), (3, "optimizer"), (3, "all")])
@pytest.mark.parametrize("method", ["npo", "npo+sam"])
def test_offloading_changes_no_weight(
    make_job: JobMaker, benchmark: Benchmark, stage: int, offload: str, method: str
) -> None:
    """On a CPU both memories are one; the code of DeepSpeed that moves state and weights runs all the same."""
    params, zero = {"retain": "kl"}, {"backend": "deepspeed", "zero_stage": stage, "offload": offload}
    jobs = [make_job(method, params, gradient_clip=0.5), make_job(method, params, gradient_clip=0.5, **zero)]
    for job in jobs:
        run_worker(job, benchmark=benchmark)
    assert furthest(weights(jobs[0]), weights(jobs[1])) < 1e-6


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_moved_weights_in_bfloat16(make_job: JobMaker, benchmark: Benchmark, stage: int) -> None:
    """Weights of the torch backend to within one rounding of bfloat16 of a weight of 1, and moves as long."""
    values = {"dtype": "bfloat16", "learning_rate": 1e-3}
    jobs = [
        make_job("npo+sam", {"sam_rho": 0.1}, **values),
        make_job("npo+sam", {"sam_rho": 0.1}, **values, backend="deepspeed", zero_stage=stage),
    ]
    whole, parts = (run_worker(job, benchmark=benchmark) for job in jobs)
    assert furthest(weights(jobs[0]), weights(jobs[1])) <= 2**-7
    assert parts["terms"]["sam_realised_fraction"] == pytest.approx(whole["terms"]["sam_realised_fraction"], rel=0.1)
