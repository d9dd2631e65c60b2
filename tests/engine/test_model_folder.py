"""Model folders that are not what they say. Oracles: the weights they were made from, bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)

from unlearn_sweep.engine.models.headers import ModelFolder
from unlearn_sweep.engine.models.inspection import inspect_folder, renaming
from unlearn_sweep.engine.models.loaded import WrongWeightsError
from unlearn_sweep.engine.models.loading import load_model, load_tokenizer, save_model
from unlearn_sweep.engine.models.start_model import train_tokenizer
from unlearn_sweep.engine.models.tokenizer_files import differences, read_tokenizer

Weights = dict[str, Tensor]
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 300,
}
IDS = torch.arange(12)[None]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untied Llama with its tokenizer."""
    folder = tmp_path_factory.mktemp("plain")
    torch.manual_seed(3)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False))
    save_model(model, train_tokenizer(["some words of a small text"] * 3, vocab_size=290), folder)
    return folder


def changed(
    plain: Path,
    folder: Path,
    weights: Callable[[Weights], Weights] = lambda weights: weights,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """A copy of the folder with other weights or entries of its configuration."""
    shutil.copytree(plain, folder)
    made = weights(load_file(plain / "model.safetensors"))
    save_file(
        {name: tensor.contiguous() for name, tensor in made.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    entries = json.loads((folder / "config.json").read_text()) | dict(config or {})
    (folder / "config.json").write_text(json.dumps(entries))
    return folder


def renamed(how: Callable[[str], str]) -> Callable[[Weights], Weights]:
    return lambda weights: {how(name): tensor for name, tensor in weights.items()}


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda name: f"_orig_mod.{name}", "torch.compile"),
        (lambda name: f"module.{name}", "DataParallel or DDP"),
        (lambda name: f"module._orig_mod.{name}", "torch.compile"),
        (lambda name: f"model.{name}", "a module around the model"),
        (lambda name: name.replace("self_attn.", "_checkpoint_wrapped_module.self_attn."), "activation checkpointing"),
        (lambda name: f"_fsdp_wrapped_module.{name}", "FSDP"),
    ],
)
def test_names_that_a_wrapper_left_are_refused_with_the_command_that_mends_them(
    plain: Path, tmp_path: Path, how: Callable[[str], str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = changed(plain, tmp_path / "wrapped", renamed(how))
    with pytest.raises(ValueError, match=f"weights are named by .*{said}"):
        load_model(str(folder), device="cpu")
    (fault,) = inspect_folder(folder).faults
    command = str(fault.advice).partition("each file F: ")[2]
    monkeypatch.chdir(folder)
    exec(command, {"F": "model.safetensors"})
    assert inspect_folder(folder).faults == ()
    assert torch.equal(logits(load_model(str(folder), device="cpu")), logits(load_model(str(plain), device="cpu")))


@pytest.mark.parametrize(
    "names", [["model.decoder.layers.0.fc1.weight"], ["model.layers.0.x", "model.norm.weight"], []]
)
def test_a_models_own_names_are_left_alone(names: list[str]) -> None:
    assert renaming(names) == {}


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: tensor for name, tensor in weights.items() if part not in name}


def plus(name: str, *shape: int) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name: torch.zeros(shape)}


def same(weights: Weights) -> Weights:
    return weights


def unmerged(weights: Weights) -> Weights:
    made = {name.replace("q_proj.", "q_proj.base_layer."): tensor for name, tensor in weights.items()}
    return made | {"model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.zeros(2, 16)}


def nan_in_one(weights: Weights) -> Weights:
    weights["model.norm.weight"][3] = float("nan")
    return weights


@pytest.mark.parametrize(
    ("weights", "config", "headers", "words"),
    [
        (unmerged, {}, True, "adapter layers still in: model.layers.0.self_attn.q_proj.base_layer.weight"),
        (without("layers.1."), {}, True, "blocks without weights: .*layers.1"),
        (without("layers.1.mlp.up"), {}, False, "1 missing .model.layers.1.mlp"),
        (plus("extra.weight", 3), {}, False, "1 that the class has no place for .extra.weight"),
        (plus("lm_head.weight", 301, 16), {}, False, "lm_head.weight is 301 x 16, .*300 x 16"),
        (same, {"vocab_size": 320}, True, "embedding has 300 rows, and config.json names a vocab_size of 320"),
        (same, {"tie_word_embeddings": True}, True, "tie_word_embeddings: true, and the head is stored with other"),
        (without("lm_head.weight"), {}, False, "1 missing .lm_head.weight"),
        (nan_in_one, {}, False, "NaN or infinite values in 1 .model.norm.weight"),
        (same, {"quantization_config": {"quant_method": "gptq"}}, True, "quantised weights .gptq."),
        (same, {"num_hidden_layers": 1}, True, "weights of 2 blocks .model.layers., and config.json names 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_names(
    plain: Path,
    tmp_path: Path,
    weights: Callable[[Weights], Weights],
    config: dict[str, Any],
    headers: bool,
    words: str,
) -> None:
    folder = changed(plain, tmp_path / "wrong", weights, config)
    with pytest.raises(ValueError, match=words):
        load_model(str(folder), device="cpu")
    assert bool(inspect_folder(folder).faults) == headers


def test_names_and_shapes_are_judged_without_reading_a_weight(plain: Path, tmp_path: Path) -> None:
    folder = changed(plain, tmp_path / "extra", plus("extra.weight", 3))
    with pytest.raises(WrongWeightsError, match=r"extra\.weight"):
        load_model(str(folder), device="meta")
    assert next(load_model(str(plain), device="meta").parameters()).device.type == "meta"


def test_a_file_that_is_cut_off_is_named(plain: Path, tmp_path: Path) -> None:
    folder = changed(plain, tmp_path / "cut")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-10])
    assert "model.safetensors is cut off" in inspect_folder(folder).faults[0].message
    (folder / "model.safetensors").write_bytes(b"{}")
    assert "no safetensors file" in inspect_folder(folder).faults[0].message


def test_shards_are_read_and_a_lost_one_is_named(plain: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(plain).save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    for file in plain.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert inspect_folder(tmp_path / "shards").faults == ()
    assert torch.equal(logits(load_model(str(tmp_path / "shards"))), logits(load_model(str(plain))))
    next((tmp_path / "shards").glob("model-00002-*")).unlink()
    assert "names 1 files that are not here: model-00002-of" in inspect_folder(tmp_path / "shards").faults[0].message


def test_a_folder_of_an_adapter_says_how_to_merge_it(plain: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(plain), LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(str(tmp_path / "adapter"))
    fault = inspect_folder(tmp_path / "adapter").faults[0]
    assert "an adapter of" in fault.message
    assert "merge_and_unload" in str(fault.advice)
    beside = changed(plain, tmp_path / "beside")
    for file in (tmp_path / "adapter").glob("adapter*"):
        shutil.copy(file, beside)
    with pytest.raises(ValueError, match=r"weights and an adapter \(adapter_config\.json\) in one folder"):
        load_model(str(beside))


def test_a_tied_model_is_read_from_one_tensor_or_two_equal_ones(plain: Path, tmp_path: Path) -> None:
    torch.manual_seed(4)
    tied = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True))
    save_model(tied, load_tokenizer(str(plain)), tmp_path / "one")
    both = changed(
        tmp_path / "one", tmp_path / "two", lambda w: w | {"lm_head.weight": w["model.embed_tokens.weight"].clone()}
    )
    assert (inspect_folder(tmp_path / "one").faults, inspect_folder(both).faults) == ((), ())
    assert torch.equal(logits(load_model(str(both))), logits(load_model(str(tmp_path / "one"))))


def test_fused_experts_are_read_bit_for_bit(plain: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=3, num_experts_per_tok=2))
    save_model(model, load_tokenizer(str(plain)), tmp_path / "moe")
    assert torch.equal(logits(load_model(str(tmp_path / "moe"))), logits(model.eval()))


def test_attention_is_what_the_class_has(plain: Path, tmp_path: Path) -> None:
    model = Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=8))
    save_model(model, load_tokenizer(str(plain)), tmp_path)
    assert load_model(str(tmp_path), device="cpu").config._attn_implementation == "eager"
    assert load_model(str(plain), device="cpu").config._attn_implementation == "sdpa"
    with pytest.raises(ValueError, match="Gemma2ForCausalLM has no sdpa; use auto or eager"):
        load_model(str(tmp_path), device="cpu", attention="sdpa")


def test_a_missing_tokenizer_is_named_and_another_place_serves(plain: Path, tmp_path: Path) -> None:
    folder = changed(plain, tmp_path / "bare")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert [fault.about for fault in inspect_folder(folder).faults] == ["tokenizer"]
    assert inspect_folder(folder, plain).faults == ()
    with pytest.raises(ValueError, match="no tokenizer here"):
        load_tokenizer(str(folder))
    assert load_tokenizer(str(plain), model=str(folder)).encode("words") == load_tokenizer(str(plain)).encode("words")


def test_a_padding_token_without_a_row_gives_way_and_any_other_entry_is_refused(plain: Path, tmp_path: Path) -> None:
    rows = ModelFolder(plain).embedding_rows
    assert rows == 300
    tokenizer = load_tokenizer(str(plain))
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [f"<{number}>" for number in range(rows - len(tokenizer))]}
    )
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == rows
    folder = changed(plain, tmp_path / "pad")
    tokenizer.save_pretrained(folder)
    assert inspect_folder(folder).faults == ()
    assert "[PAD] has no row" in inspect_folder(folder).notes[0]
    assert load_tokenizer(str(folder)).pad_token_id == tokenizer.eos_token_id
    tokenizer.add_tokens(["beyond"])
    tokenizer.save_pretrained(folder)
    assert "1 entries beyond the embedding's 300 rows: beyond" in inspect_folder(folder).faults[0].message


def test_tokenizers_are_told_apart_by_what_they_do(plain: Path, tmp_path: Path) -> None:
    own = read_tokenizer(plain)
    tokenizer = load_tokenizer(str(plain))
    tokenizer.save_pretrained(tmp_path / "again")
    tokenizer.eos_token, tokenizer.chat_template = "<|pad|>", "{{ messages }}"
    tokenizer.save_pretrained(tmp_path / "other")
    train_tokenizer(["entirely different things"] * 5, vocab_size=290).save_pretrained(tmp_path / "third")
    again, other, third = (read_tokenizer(tmp_path / name) for name in ("again", "other", "third"))
    assert own is not None
    assert again is not None
    assert other is not None
    assert third is not None
    assert differences(own, again) == []
    assert differences(own, other) == ["eos_token <|pad|> (not <|endoftext|>)", "another chat template"]
    assert "another vocabulary" in differences(own, third)
