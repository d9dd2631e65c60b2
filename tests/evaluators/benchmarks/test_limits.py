"""Limits of length. Oracles: token counts by the tokenizer alone, and the texts themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.limits import (
    DEFAULT_TOKENS,
    cut_rows,
    doubtful_rows,
    fitted,
    limited,
)
from unlearn_sweep.evaluators.benchmarks.passages import continuation_row, document_rows
from unlearn_sweep.evaluators.row_encoder import RowEncoder
from unlearn_sweep.evaluators.rows import Row, Template


@pytest.fixture(scope="module")
def letters() -> PreTrainedTokenizerFast:
    """One token a byte, as digits are in many tokenizers."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(
        models.BPE(vocab={"<s>": 0, "</s>": 1} | {mark: i + 2 for i, mark in enumerate(alphabet)}, merges=[])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")


TEXTS = ["".join(f"Line {i} of text {number}. " for i in range(12)).strip() for number in range(8)]


def benchmark(**changes: Any) -> Benchmark:
    train = document_rows("forget", TEXTS, 1 << 40)
    judged = []
    for row in train:
        made = continuation_row(row.row_id, "forget", row.answer)
        assert made is not None
        judged.append(replace(made, group_id=row.group_id, divisible=True))
    asked = [
        Row(row_id=f"q{i}", group_id=f"q{i}", split="retain", question="Who?" * i, answer="Orla " * i) for i in (1, 8)
    ]
    made_of = Benchmark(
        name="x",
        train={"forget": train, "retain": asked},
        evaluation={"forget": judged, "retain": asked},
        utility_splits=("retain",),
    )
    return replace(made_of, **changes)


def test_long_texts_become_passages_that_fit_and_lose_nothing(letters: PreTrainedTokenizerFast) -> None:
    data = limited(benchmark(), 100)
    found = fitted(data, letters, None)
    for index, text in enumerate(TEXTS):
        group = f"forget/{index:05d}"
        parts = [row for row in found.train["forget"] if row.group_id == group]
        assert len(parts) > 2
        assert " ".join(row.answer for row in parts) == text
        assert all(len(letters.encode(row.answer)) + 1 <= 100 for row in parts)
        assert all(row.answer.endswith(".") for row in parts), "cut at the end of a sentence"
        judged = [row for row in found.evaluation["forget"] if row.group_id == group]
        assert " ".join(f"{row.question} {row.answer}" for row in judged) == text
    asked, dropped = RowEncoder(tokenizer=letters, template=found.template).ask(
        found.evaluation["forget"], alternatives=False
    )
    assert not dropped
    assert sum(len(item.answer.answer_ids) for item in asked) == sum(
        len(letters.encode(row.answer)) + 1 for row in found.evaluation["forget"]
    )


def test_texts_that_fit_are_left_alone(letters: PreTrainedTokenizerFast) -> None:
    data = limited(benchmark(), None)
    assert fitted(data, letters, None) == data
    assert data.template.max_tokens == DEFAULT_TOKENS
    assert doubtful_rows(data, None) == 0


@pytest.mark.parametrize(("limit", "context"), [(40, None), (500, 40)])
def test_what_is_cut_is_counted(letters: PreTrainedTokenizerFast, limit: int, context: int | None) -> None:
    """By hand: "Question: Who? ... Answer:" has 26 bytes but the question; 1 and 8 times "Orla ", a lead, an end."""
    losses = cut_rows(limited(benchmark(), limit), letters, context)
    prompt = len("Question: \nAnswer:") + 8 * len("Who?")
    whole = prompt + len(" ") + len("Orla ") * 8 + 1
    assert losses.splits["to train retain"].rows == 1
    assert losses.splits["to train retain"].tokens == whole - 40
    assert losses.splits["to train retain"].unaskable == (("q8",) if prompt >= 40 else ())
    assert losses.splits["to train forget"].tokens == 0
    assert losses.texts == 8
    assert losses.passages > 16
    assert "1 rows to judge retain are cut" in str(losses)
    assert "nothing of them is lost" in str(losses)


def test_a_benchmarks_own_limit_goes_before_the_option() -> None:
    own = Row(row_id="r", group_id="r", split="forget", question="q", answer="a", template=Template(max_tokens=2048))
    found = limited(benchmark(evaluation={"forget": [own], "retain": []}), 64)
    assert found.evaluation["forget"][0].template == Template(max_tokens=2048)
    assert found.template.max_tokens == 64
    assert all(row.template is not None and row.template.max_tokens == 64 for row in found.train["forget"])


def test_an_unbreakable_text_is_cut_between_letters(letters: PreTrainedTokenizerFast) -> None:
    data = limited(benchmark(train={"forget": document_rows("forget", ["数" * 200], 1 << 40), "retain": []}), 64)
    found = fitted(data, letters, None).train["forget"]
    assert "".join(row.answer for row in found) == "数" * 200
    assert all(len(letters.encode(row.answer)) + 1 <= 64 for row in found)
