"""`compat: muse_bench`. Oracle: the published scorer's steps written with plain transformers.

MUSE's own `metrics/knowmem.py` and `verbmem.py` were run beside it on small trained models with tokenizers in the shape
of Llama 2, Zephyr and Llama 3: 36 of 36 answers and 45 of 45 passages have the same score with `compat`, 10 of 36 and
42 of 45 without (docs/comparison.md).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from tests.evaluators.tiny_models import SHAPE
from tests.evaluators.tokenizer_families import FAMILIES
from tests.support.published_data import fact, write_muse
from unlearn_sweep.evaluators.answering import cut_at
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.benchmarks.muse import STOPS
from unlearn_sweep.evaluators.benchmarks.prompt_format import PromptSettings, in_format
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.rouge import rouge_l
from unlearn_sweep.evaluators.rows import encode

SHAPES = ("llama2", "zephyr_file", "llama3", "gpt2")
TOKENS = 128


def made(name: str) -> tuple[PreTrainedTokenizerBase, LlamaForCausalLM]:
    tokenizer = next(family.make() for family in FAMILIES if family.name == name)
    torch.manual_seed(1)
    shape = {**SHAPE, "vocab_size": len(tokenizer), "max_position_embeddings": 1024}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    return tokenizer, LlamaForCausalLM(LlamaConfig(**{**shape, **ids})).eval()


def muse(folder: Path, compat: str) -> Benchmark:
    return load_benchmark("muse", {"corpus": "news", "path": str(folder), "compat": compat})


def written(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, prompt: str, tokens: int) -> str:
    """What follows a prompt, which is tokenised by itself, as every plain script has it."""
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    assert isinstance(ids, torch.Tensor)
    plain: Any = model
    found = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
    return str(tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True))


@pytest.mark.parametrize("name", SHAPES)
def test_questions_are_asked_and_cut_as_published(name: str, tmp_path: Path) -> None:
    tokenizer, model = made(name)
    write_muse(tmp_path)
    benchmark = muse(tmp_path, "muse_bench")
    rows = [row for row in benchmark.evaluation["forget"] if row.kind == "question"][:3]
    table = evaluate_rows(
        model, tokenizer, rows, metrics=["knowmem"], template=benchmark.template, max_new_tokens=32
    ).table
    shown = "".join("Question: {}\nAnswer: {}\n\n".format(*fact("lighthouse", i)) for i in range(2))
    for row, said in zip(rows, table["generation"], strict=True):
        expected = written(model, tokenizer, f"{shown}Question: {row.question}\nAnswer: ", 32)
        for stop in ("\n\n", "\nQuestion", "Question:"):
            expected = expected.split(stop)[0]
        assert said == expected.strip()


@pytest.mark.parametrize("name", SHAPES)
def test_passages_are_compared_as_published(name: str, tmp_path: Path) -> None:
    """The reference is the rest of a passage, tokenised by itself with whatever begins a text, cut at 128 tokens."""
    tokenizer, model = made(name)
    write_muse(tmp_path)
    prompts = [f"The lighthouse of Vantry {word}" for word in ("was built in 1984", "has a keeper")]
    rests = [written(model, tokenizer, prompt, TOKENS) + " keeper" * 90 for prompt in prompts]
    lines = [json.dumps({"prompt": prompt, "gt": rest}) for prompt, rest in zip(prompts, rests, strict=True)]
    (tmp_path / "verbmem/forget.jsonl").write_text("\n".join(lines))
    benchmark = muse(tmp_path, "muse_bench")
    rows = [row for row in benchmark.evaluation["forget"] if row.kind == "continuation"]
    table = evaluate_rows(
        model, tokenizer, rows, metrics=["verbmem"], template=benchmark.template, max_new_tokens=TOKENS
    ).table
    by_prompt = dict(zip(prompts, rests, strict=True))
    for row, found in zip(rows, table["verbmem"], strict=True):
        ids = list(tokenizer(by_prompt[row.question])["input_ids"])[:TOKENS]
        reference = str(tokenizer.decode(ids, skip_special_tokens=True))
        said = written(model, tokenizer, row.question, TOKENS)
        assert said.strip() == table.loc[table["row_id"] == row.row_id, "generation"].item()
        assert found == pytest.approx(rouge_l(reference, said, stemmer=False).f1, abs=1e-12)
        assert found > 0.1


def test_by_default_no_blank_stands_alone_at_the_end_of_a_prompt(tmp_path: Path) -> None:
    """In every example the blank is part of the answer's first token; the published prompt ends with one of its own."""
    tokenizer, _ = made("llama3")
    write_muse(tmp_path)
    ids = {}
    for compat in ("none", "muse_bench"):
        row = next(row for row in muse(tmp_path, compat).evaluation["forget"] if row.kind == "question")
        assert row.template is not None
        ids[compat] = encode(tokenizer, row.row_id, row.question, row.answer, row.template)
    assert str(tokenizer.decode(list(ids["none"].prompt_ids))).endswith("Answer:")
    assert str(tokenizer.decode(list(ids["muse_bench"].prompt_ids))).endswith("Answer: ")
    plain, raw = ids["none"].prompt_ids, ids["muse_bench"].prompt_ids
    assert raw[: len(plain)] == plain
    assert len(raw) == len(plain) + 1


def test_an_answer_behind_a_blank_line_is_an_answer() -> None:
    """MUSE's scorer splits "\\n\\nParis" at the first stop and has nothing left."""
    assert cut_at("\n\nParis\n\nQuestion: Who?", STOPS) == "Paris"
    assert cut_at("\n\nParis\n\nQuestion: Who?", STOPS, anywhere=True) == ""
    assert cut_at(" Paris\nQuestion: Who?", STOPS, anywhere=True) == " Paris"


def test_as_a_chat_the_published_blanks_play_no_part(tmp_path: Path) -> None:
    write_muse(tmp_path)
    chat = PromptSettings(format="chat")
    asked = [
        row.template
        for compat in ("none", "muse_bench")
        for row in in_format(muse(tmp_path, compat), chat).evaluation["retain"]
    ]
    written = {(found.chat_lead, found.answer_lead, found.raw) for found in asked if found is not None}
    assert written == {("Answer:", " ", False)}
