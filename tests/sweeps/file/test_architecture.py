"""What a model's class cannot take is found by its headers. Oracle: the classes themselves, and hand-made headers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.model_folders import TINY_SHAPES, write_model_folder, write_safetensors
from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.sweeps.file.architecture import NO_SDPA
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec

PLAIN = dict(TINY_SHAPES) | {
    "model.layers.0.self_attn.o_proj.weight": [2, 2],
    "model.layers.0.mlp.down_proj.weight": [2, 3],
}
EXPERTS = dict(TINY_SHAPES) | {"model.layers.0.mlp.experts.0.down_proj.weight": [2, 3]}
IN_WEIGHTS = "attacks: [{abliterate: {where: weights}}]"
IN_CHAIN = "attacks: [{chain: [{abliterate: {where: weights}}, {prefill: {tokens: 1}}]}]"


def found(folder: Path, kind: str, shapes: dict[str, list[int]], **parts: str) -> list[str]:
    write_model_folder(folder / "m")
    config = json.loads((folder / "m" / "config.json").read_text())
    (folder / "m" / "config.json").write_text(json.dumps(config | {"model_type": kind}))
    write_safetensors(folder / "m" / "model.safetensors", shapes)
    text = sweep_text(**{"model": "model: {path: ./m}", "gold": "gold: {path: ./m}", **parts})
    try:
        parse_spec(text, folder=folder)
    except SpecError as error:
        return [problem.message for problem in error.problems]
    return []


def test_the_types_without_sdpa_are_those_of_the_library() -> None:
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM

    for kind in (*NO_SDPA, "llama", "qwen2", "qwen3", "gemma3_text", "opt", "gpt2", "gpt_neox", "falcon", "mixtral"):
        found = AutoModelForCausalLM._model_mapping[type(AutoConfig.for_model(kind))]
        assert isinstance(found, type)
        assert issubclass(found, transformers.PreTrainedModel)
        assert found._supports_sdpa is (kind not in NO_SDPA), kind


@pytest.mark.parametrize(("kind", "said"), [("gemma2", ["a model of type gemma2 has no sdpa"]), ("llama", [])])
def test_sdpa_is_refused_where_the_class_has_none(tmp_path: Path, kind: str, said: list[str]) -> None:
    assert found(tmp_path, kind, PLAIN, model="model: {path: ./m, attention: sdpa}") == said


@pytest.mark.parametrize("attacks", [IN_WEIGHTS, IN_CHAIN])
def test_abliteration_in_weights_needs_plain_writers(tmp_path: Path, attacks: str) -> None:
    assert found(tmp_path, "llama", PLAIN, attacks=attacks) == []
    (message,) = found(tmp_path, "mixtral", EXPERTS, attacks=attacks)
    assert "no direction can be taken out of its weights" in message
    normed = PLAIN | {"model.layers.0.post_feedforward_layernorm.weight": [2]}
    assert len(found(tmp_path, "olmo2", normed, attacks=attacks)) == 1


def test_adapters_of_experts_take_no_dropout(tmp_path: Path) -> None:
    lora = "training: {lora: {dropout: 0.1}}"
    assert "adapters of experts take no dropout" in found(tmp_path, "mixtral", EXPERTS, training=lora)[0]
    assert found(tmp_path, "llama", PLAIN, training=lora) == []
    attention = "training: {lora: {dropout: 0.1, targets: attention}}"
    assert found(tmp_path, "mixtral", EXPERTS, training=attention) == []


@pytest.mark.parametrize(
    "attacks", ["attacks: [{prune: {by: wanda}}]", "attacks: [{chain: [{prune: {by: wanda}}, {quantize: {bits: 4}}]}]"]
)
def test_wanda_needs_an_input_for_each_matrix(tmp_path: Path, attacks: str) -> None:
    (message,) = found(tmp_path, "mixtral", EXPERTS, attacks=attacks)
    assert "the input of each expert cannot be read" in message
    assert found(tmp_path, "llama", PLAIN, attacks=attacks) == []
    assert found(tmp_path, "mixtral", EXPERTS, attacks=attacks.replace("wanda", "magnitude")) == []
