"""What `validate` and `plan` say of long rows. Oracle: counts by hand under a tokenizer that has one token a letter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.plan.data_check import check_rows, describe
from unlearn_sweep.sweeps.plan.lengths import context_of
from unlearn_sweep.sweeps.resolve import resolve

SWEEP = """
name: own
model: {{{model}}}
benchmark: {{name: custom, forget_path: {folder}/forget.jsonl, retain_path: {folder}/retain.jsonl{options}}}
gold: {{floor: chance}}
methods: {{simnpo: {{learning_rate: 1e-3}}}}
evaluators: {{ue: [rouge], ut: [rouge]}}
attacks: [{{prefill: {{tokens: [1]}}}}]
"""
PROMPT = "Question: Who 0?\nAnswer:"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={mark: i for i, mark in enumerate(["</s>", *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="</s>")
    tokenizer.save_pretrained(tmp_path / "model")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=300,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    return tmp_path


def described(folder: Path, *, answer: str = "He", question: str = "Who 0?", options: str = "", model: str = "") -> str:
    for name in ("forget", "retain"):
        rows = [{"question": f"Who {name} {i}?", "answer": f"{name} {i}"} for i in range(5)]
        rows += [{"question": question, "answer": answer}] if name == "forget" else []
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    spec = parse_spec(
        SWEEP.format(folder=folder, options=options, model=model or f"path: {folder}/model"), folder=folder
    )
    job = resolve(spec)
    try:
        return describe(spec, job, check_rows(spec, job))
    except SpecError as error:
        return error.text()


def test_short_rows_have_nothing_to_say(folder: Path) -> None:
    assert described(folder).partition("; few rows")[0].endswith("to judge by 6 forget, 5 retain")


def test_a_long_answer_is_counted_against_the_models_context(folder: Path) -> None:
    """The prompt, a blank, 400 letters and the end: what exceeds the 300 positions of the model is lost."""
    lost = len(PROMPT) + 1 + 400 + 1 - 300
    told = described(folder, answer="x" * 400)
    assert f"1 rows to train forget are cut at benchmark.max_tokens, {lost} tokens are lost" in told
    assert f"1 rows to judge forget are cut at benchmark.max_tokens, {lost} tokens are lost" in told


def test_the_option_cuts_shorter(folder: Path) -> None:
    lost = len(PROMPT) + 1 + 100 + 1 - 50
    assert f"{lost} tokens are lost" in described(folder, answer="x" * 100, options=", max_tokens: 50")


def test_a_question_without_room_for_an_answer_is_refused_by_name(folder: Path) -> None:
    told = described(folder, question="Who? " * 100)
    assert "1 rows to train forget: the question alone fills benchmark.max_tokens or the model's" in told
    assert "context: forget/00005;" in told


def test_without_a_tokenizer_doubtful_rows_are_counted(folder: Path) -> None:
    told = described(folder, answer="x" * 2000, model="train: {epochs: 1}")
    assert "2 rows may be longer than benchmark.max_tokens: the tokenizer is not here yet" in told


def test_the_context_is_read_from_the_configuration(folder: Path) -> None:
    assert context_of(folder / "model") == 300
    assert context_of(folder) is None
