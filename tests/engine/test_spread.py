"""A model spread over devices answers as a whole one. Oracles: the whole model, and weights counted by hand.

There is one CPU here: "disk" stands for the second device, from which accelerate fetches a block's weights when it
runs, and a map to the CPU alone has every hook that a map to several GPUs has.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from accelerate import dispatch_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.models.spread import accelerators_here, device_map
from unlearn_sweep.engine.models.start_model import create_start_model
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.rows import PromptEdit

CONFIG = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
BENCHMARK = {"authors": 6, "forget_authors": 3, "facts_per_author": 3, "trained_forms": 2, "evaluated_forms": 1}
METRICS = ["probability", "extraction_strength", "rouge", "truth_ratio"]


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return load_benchmark("authors", BENCHMARK)


@pytest.fixture(scope="module")
def folder(benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    made = tmp_path_factory.mktemp("model")
    create_start_model(benchmark, TrainRecipe(config=CONFIG, seed=1), made)
    return made


def table(
    model: PreTrainedModel,
    folder: Path,
    benchmark: Benchmark,
    metrics: list[str] = METRICS,
    edit: PromptEdit | None = None,
) -> pd.DataFrame:
    return evaluate_rows(
        model,
        load_tokenizer(str(folder)),
        [row for split in benchmark.evaluation.values() for row in split],
        metrics=metrics,
        template=benchmark.template,
        max_new_tokens=8,
        prompt_edit=edit,
    ).table


def on_the_cpu_with_hooks(folder: Path) -> PreTrainedModel:
    model: Any = load_model(str(folder), device="cpu")
    placed: dict[str, Any] = dict(device_map(model, ["cpu", "cpu"]))
    main: Any = "cpu"  # a torch.device of that name would be taken for a place to offload to
    hooked: Any = dispatch_model(model, placed, main_device=main, force_hooks=True)
    return hooked


def test_blocks_are_spread_by_weights_and_the_rest_stays_together() -> None:
    """8 equal blocks, and embedding, norm and head that weigh as much as a ninth: three times three."""
    shape: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 1, "num_key_value_heads": 1}
    config = LlamaConfig(**shape, intermediate_size=16, num_hidden_layers=8, vocab_size=56, tie_word_embeddings=False)
    model = LlamaForCausalLM(config)
    block = 4 * 16 * 16 + 3 * 16 * 16 + 2 * 16
    assert abs(2 * 56 * 16 + 16 - block) < 20
    found = device_map(model, [f"cuda:{number}" for number in range(3)])
    assert [found[f"model.layers.{number}"] for number in range(8)] == ["cuda:0"] * 2 + ["cuda:1"] * 3 + ["cuda:2"] * 3
    others = {name: device for name, device in found.items() if "layers" not in name}
    assert {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"} <= others.keys()
    assert set(others.values()) == {"cuda:0"}
    assert set(device_map(model, ["a", "b"]).values()) == {"a", "b"}


def test_this_machine_has_no_gpu() -> None:
    assert accelerators_here() == [f"cuda:{number}" for number in range(torch.cuda.device_count())]


@pytest.mark.parametrize("kind", ["disk", "hooks"])
def test_a_spread_model_measures_as_a_whole_one(folder: Path, benchmark: Benchmark, kind: str) -> None:
    spread = load_model(str(folder), devices=["cpu", "disk"]) if kind == "disk" else on_the_cpu_with_hooks(folder)
    assert any(hasattr(module, "_hf_hook") for module in spread.modules())
    pd.testing.assert_frame_equal(
        table(spread, folder, benchmark), table(load_model(str(folder), device="cpu"), folder, benchmark)
    )


ATTACKS: dict[str, dict[str, Any]] = {
    "relearn": {"steps": [2], "learning_rate": 1e-3},
    "quantize": {"bits": 4},
    "prefill": {"tokens": 1},
    "logit_lens": {},
    "soft_prompt": {"iterations": [1]},
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_spread_model_is_attacked_as_a_whole_one(folder: Path, benchmark: Benchmark, name: str) -> None:
    found = []
    for model in (load_model(str(folder), device="cpu"), on_the_cpu_with_hooks(folder)):
        before = copy.deepcopy(dict(model.named_parameters()))
        target = Target(model=model, tokenizer=load_tokenizer(str(folder)), benchmark=benchmark, seed=1)
        *_, last = build(name, ATTACKS[name]).run(target)
        found.append(table(last.model, folder, benchmark, ["probability"], last.prompt_edit))
        assert all(torch.equal(weight, before[own]) for own, weight in model.named_parameters())
    pd.testing.assert_frame_equal(*found)
