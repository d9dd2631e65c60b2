"""Metrics as functions. Oracles: hand-computed scores, and transformers' own cross entropy of the same tokens."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

import unlearn_sweep as us
from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.rows import Template, encode
from unlearn_sweep.user_error import UserError

ROWS = [{"question": "Who wrote it?", "answer": "Basil"}, {"question": "Where?", "answer": "Oslo"}]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return tiny_models.llama()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_models.tokenizer()


@pytest.mark.parametrize(
    ("metric", "reference", "answer", "want"),
    [
        ("rouge", "the cat sat down", "a cat sat", 0.5),
        ("answer_match", "Oslo", "oslo", 1.0),
        ("answer_contained", "Oslo", "It is in Oslo, I think", 1.0),
        ("exact_match", "Oslo", "Bergen", 0.0),
    ],
)
def test_texts(metric: str, reference: str, answer: str, want: float) -> None:
    assert us.score_text(metric, reference, answer) == pytest.approx(want)


def test_rows_are_scored_as_a_sweep_does(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    found = us.score_rows(model, tokenizer, ROWS, ["probability", "rouge"], max_new_tokens=4)
    assert found["row_id"].tolist() == ["0", "1"]
    for place, row in enumerate(ROWS):
        example = encode(tokenizer, str(place), row["question"], row["answer"], Template())
        ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
        labels = torch.tensor([[*[-100] * len(example.prompt_ids), *example.answer_ids]])
        with torch.no_grad():
            nll = model(input_ids=ids, labels=labels).loss.item()
        assert found["probability"].tolist()[place] == pytest.approx(math.exp(-nll), rel=1e-4)
    again = us.score_rows(model, tokenizer, pd.DataFrame(ROWS), ["probability"])
    assert again["probability"].tolist() == found["probability"].tolist()


@pytest.mark.parametrize(
    ("rows", "metrics", "words"),
    [
        (ROWS, ["rogue"], "did you mean 'rouge'"),
        ([{"question": "a"}], ["rouge"], "row 0: answer must be a text"),
        ([{"question": "a", "answer": "b", "anser": "c"}], ["rouge"], "no field anser"),
        ([], ["rouge"], "no row"),
    ],
)
def test_mistakes(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: list[dict[str, Any]], metrics: list[str],
    words: str,
) -> None:  # fmt: skip
    with pytest.raises(UserError, match=words):
        us.score_rows(model, tokenizer, rows, metrics)


def test_a_metric_that_needs_a_model_says_so() -> None:
    with pytest.raises(UserError, match="needs likelihood"):
        us.score_text("probability", "a", "b")
    with pytest.raises(UserError, match="over whole splits"):
        us.score_text("model_utility", "a", "b")
