"""Models on disk. Oracles: encode-decode identity, the loaded parameters themselves, byte comparison, real pickles."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from unlearn_sweep.engine.models.loading import (
    choose_attention,
    choose_dtype,
    load_model,
    load_tokenizer,
    model_digest,
    model_folder,
    parameter_count,
    save_model,
)
from unlearn_sweep.engine.models.start_model import create_start_model, train_tokenizer
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

RECIPE = TrainRecipe(
    config={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    vocab_size=400,
    seed=3,
)


@pytest.fixture(scope="module")
def authors() -> Benchmark:
    return load_benchmark("authors", {"authors": 8, "forget_authors": 2})


@pytest.fixture(scope="module")
def start(authors: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    create_start_model(authors, RECIPE, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(authors: Benchmark) -> PreTrainedTokenizerFast:
    return train_tokenizer(authors.tokenizer_texts, vocab_size=400)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_survives_encoding_and_decoding(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text


def test_end_of_text_and_padding_are_two_tokens_no_ordinary_text_gives(tokenizer: PreTrainedTokenizerFast) -> None:
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|pad|>")
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    ids = tokenizer.encode("a . endoftext pad |")
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.pad_token_id not in ids


def test_a_saved_tokenizer_encodes_as_before(
    start: Path, tokenizer: PreTrainedTokenizerFast, authors: Benchmark
) -> None:
    loaded = load_tokenizer(str(start))
    assert len(loaded) == len(tokenizer) <= 400
    assert (loaded.eos_token_id, loaded.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    for text in authors.tokenizer_texts[:20]:
        assert loaded.encode(text) == tokenizer.encode(text)


def test_the_same_recipe_gives_the_same_files_and_another_seed_does_not(
    start: Path, authors: Benchmark, tmp_path: Path
) -> None:
    create_start_model(authors, RECIPE, tmp_path / "again")
    create_start_model(authors, replace(RECIPE, seed=4), tmp_path / "other")
    assert model_digest(str(start)) == model_digest(str(tmp_path / "again")) != model_digest(str(tmp_path / "other"))
    weights = "model.safetensors"
    assert (start / weights).read_bytes() == (tmp_path / "again" / weights).read_bytes()


def test_creating_a_model_leaves_every_global_random_state_as_found(authors: Benchmark, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
    create_start_model(authors, RECIPE, tmp_path)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), repr(np.random.get_state()))


def test_weights_do_not_depend_on_the_callers_seed_or_default_dtype(
    authors: Benchmark, start: Path, tmp_path: Path
) -> None:
    torch.manual_seed(77)
    create_start_model(authors, RECIPE, tmp_path)
    assert model_digest(str(tmp_path)) == model_digest(str(start))


def test_a_base_is_taken_over_unchanged(start: Path, authors: Benchmark, tmp_path: Path) -> None:
    create_start_model(authors, TrainRecipe(base=str(start)), tmp_path)
    assert model_digest(str(tmp_path)) == model_digest(str(start))


def test_a_base_keeps_its_own_number_format(start: Path, authors: Benchmark, tmp_path: Path) -> None:
    save_model(load_model(str(start), dtype="bfloat16"), load_tokenizer(str(start)), tmp_path / "narrow")
    create_start_model(authors, TrainRecipe(base=str(tmp_path / "narrow")), tmp_path / "start")
    assert load_model(str(tmp_path / "start"), dtype="stored").dtype == torch.bfloat16


def test_a_saved_model_answers_as_before(start: Path, tmp_path: Path) -> None:
    model = load_model(str(start))
    save_model(model, load_tokenizer(str(start)), tmp_path)
    ids = torch.arange(10)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, load_model(str(tmp_path))(ids).logits)
    assert not model.training


def test_a_recipe_must_say_what_to_build(authors: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a base model nor a configuration"):
        create_start_model(authors, TrainRecipe(), tmp_path)
    with pytest.raises(ValueError, match="no such Llama configuration value: hiden_size"):
        create_start_model(authors, replace(RECIPE, config={"hiden_size": 8}), tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused_before_they_are_opened(start: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    torch.save(load_model(str(start)).state_dict(), tmp_path / name)
    for opens in (load_model, model_digest, parameter_count):
        with pytest.raises(ValueError, match=f"only pickled weights .{name}.* can run code when opened"):
            opens(str(tmp_path))


def test_a_pickle_beside_safetensors_is_never_read(start: Path, tmp_path: Path) -> None:
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    (tmp_path / "pytorch_model.bin").write_bytes(b"no weights")
    assert model_digest(str(tmp_path)) == model_digest(str(start))
    assert load_model(str(tmp_path)).num_parameters() == load_model(str(start)).num_parameters()


def test_folders_without_weights_and_names_that_are_nothing_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model folder: it has no config"):
        model_folder(str(tmp_path))
    with pytest.raises(ValueError, match="no such folder, and not a hub id"):
        model_folder("./no/such/folder")
    with pytest.raises(ValueError, match="no-such-owner/no-such-model: no such folder, and the hub cannot be reached"):
        model_folder("no-such-owner/no-such-model")


def test_the_digest_follows_weights_configuration_and_tokenizer_only(start: Path, tmp_path: Path) -> None:
    first = model_digest(str(start))
    assert len(first) == 16
    assert int(first, 16) >= 0
    for name, change in (
        ("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        ("config.json", lambda data: data.replace(b'"rms_norm_eps": 1e-06', b'"rms_norm_eps": 1e-05')),
        ("tokenizer.json", lambda data: data.replace(b"<|pad|>", b"<|PAD|>")),
    ):
        folder = tmp_path / name
        shutil.copytree(start, folder)
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        assert model_digest(str(folder)) != first


def test_the_digest_does_not_follow_library_version_place_or_notes(start: Path, tmp_path: Path) -> None:
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "transformers_version": "9.9"}), encoding="utf-8")
    (tmp_path / "README.md").write_text("a note", encoding="utf-8")
    assert model_digest(str(tmp_path)) == model_digest(str(start))


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_without_weights(authors: Benchmark, tmp_path: Path, tied: bool) -> None:
    create_start_model(authors, replace(RECIPE, config={**RECIPE.config, "tie_word_embeddings": tied}), tmp_path)
    model = load_model(str(tmp_path))
    wanted = sum(parameter.numel() for parameter in model.parameters())
    assert parameter_count(str(tmp_path)) == parameter_count(model.config) == wanted


def test_dtype_is_wide_on_a_cpu_and_narrow_on_a_gpu() -> None:
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("float16", torch.device("cpu")) == torch.float16
    with pytest.raises(ValueError, match=r"model.dtype: must be one of auto, .*; got 'fp8'"):
        choose_dtype("fp8", torch.device("cpu"))


def test_flash_attention_is_never_chosen_on_a_cpu_and_refused_when_asked_for(start: Path) -> None:
    assert load_model(str(start), device="cpu").config._attn_implementation == "sdpa"
    assert load_model(str(start), device="cpu", attention="eager").config._attn_implementation == "eager"
    with pytest.raises(ValueError, match="flash_attention_2 cannot run: the device is cpu"):
        load_model(str(start), device="cpu", attention="flash_attention_2")
    with pytest.raises(ValueError, match="weights are float32"):
        choose_attention("flash_attention_2", torch.device("cuda"), torch.float32)
    with pytest.raises(ValueError, match="got 'flash'"):
        choose_attention("flash", torch.device("cpu"), torch.float32)


def test_a_saved_model_may_be_read_by_whoever_may_read_its_configuration(
    start: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_model(load_model(str(start), device="cpu"), load_tokenizer(str(start)), tmp_path / "model")
    modes = {(tmp_path / "model" / name).stat().st_mode for name in ("config.json", "model.safetensors")}
    assert len(modes) == 1
    assert "it/s" not in capfd.readouterr().err  # no bars of transformers' own
