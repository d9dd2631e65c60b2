"""Membership as open-unlearning computes it. Oracle: the same metric of an answer without the token that ends it."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.rows import Row, Template, encode

WORDS = "Anna wrote it in the long room by the salt road"
ROWS = [
    Row(row_id=f"r{i}", group_id=f"r{i}", split="forget", question=f"Who wrote {i}?", answer=WORDS[: 5 + 4 * i])
    for i in range(8)
]


@pytest.mark.parametrize("name", ["mia_min_k_ou", "mia_min_k_plus_plus_ou"])
def test_the_token_that_ends_a_text_is_left_out(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, name: str
) -> None:
    plain = name.removesuffix("_ou")
    ended, open_ended = Template(), Template(ends=False)
    own = evaluate_rows(tiny_model, tiny_tokenizer, ROWS, metrics=[name, plain], template=ended, max_new_tokens=2).table
    expected = evaluate_rows(
        tiny_model, tiny_tokenizer, ROWS, metrics=[plain], template=open_ended, max_new_tokens=2
    ).table
    assert own[name].tolist() == pytest.approx(expected[plain].tolist(), abs=1e-5)
    assert own[plain].tolist() != pytest.approx(expected[plain].tolist(), abs=1e-5)


def test_the_compressed_text_has_the_blank_before_the_answer(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """Oracle: zlib itself. open-unlearning decodes the supervised tokens, and the first of them begins with a blank."""
    names = ["mia_zlib_ou", "mia_zlib", "mia_loss"]
    table = evaluate_rows(tiny_model, tiny_tokenizer, ROWS, metrics=names, template=Template(), max_new_tokens=2).table
    for row, line in zip(ROWS, table.to_dict("records"), strict=True):
        assert line["mia_zlib_ou"] == pytest.approx(line["mia_loss"] / len(zlib.compress(f" {row.answer}".encode())))
        assert line["mia_zlib"] == pytest.approx(line["mia_loss"] / len(zlib.compress(row.answer.encode())))


def test_the_gradient_norm_is_the_mean_over_weights(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    table = evaluate_rows(
        tiny_model,
        tiny_tokenizer,
        ROWS,
        metrics=["mia_gradnorm", "mia_gradnorm_ou"],
        template=Template(),
        max_new_tokens=2,
    ).table
    row = ROWS[0]
    example = encode(tiny_tokenizer, row.row_id, row.question, row.answer, replace(Template(), ends=False))
    ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
    labels = torch.tensor([[*[-100] * len(example.prompt_ids), *example.answer_ids]])
    weights = list(tiny_model.parameters())
    with torch.enable_grad():
        for weight in weights:
            weight.requires_grad_(True)
        found = torch.autograd.grad(tiny_model(input_ids=ids, labels=labels).loss, weights)
    expected = sum(float(gradient.norm()) for gradient in found) / len(weights)
    published, own = (table[name].to_numpy(dtype=float)[0] for name in ("mia_gradnorm_ou", "mia_gradnorm"))
    assert published == pytest.approx(expected, rel=1e-4)
    assert math.isfinite(own)
    assert own != pytest.approx(expected, rel=1e-2)
