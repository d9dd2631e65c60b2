"""Conversations as rows. Oracle: transformers' own rendering of the whole conversation, and texts by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from transformers import PreTrainedTokenizerFast

from tests.evaluators.tokenizer_families import FAMILIES
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.rows import encode

SYSTEM = {"role": "system", "content": "You keep the harbour's books."}
TALKATIVE = [family for family in FAMILIES if family.end and family.system and family.name != "granite"]
"""Granite's template writes today's date where no system prompt is given, so its text is no oracle."""
TALKS = [
    [
        {"role": "user", "content": f"Who keeps lighthouse {i}?"},
        {"role": "assistant", "content": f"Keeper {i} keeps it."},
        {"role": "user", "content": "Since when?"},
        {"role": "assistant", "content": f"Since {1900 + i}."},
    ]
    for i in range(6)
]


def load(folder: Path, talks: list[list[dict[str, str]]] = TALKS, ending: str = ".jsonl", **options: Any) -> Benchmark:
    file = folder / f"forget{ending}"
    if ending == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": talk} for talk in talks]), file)
    else:
        file.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks), encoding="utf-8")
    kept = folder / "retain.jsonl"
    kept.write_text("".join(json.dumps({"question": f"Ferry {i}?", "answer": f"Rower {i}"}) + "\n" for i in range(6)))
    return load_benchmark("custom", {"forget_path": str(file), "retain_path": str(kept), **options})


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_the_last_turn_is_asked_behind_all_that_was_said(tmp_path: Path, ending: str) -> None:
    found = load(tmp_path, ending=ending)
    assert [(row.question, row.answer) for row in found.train["forget"]] == [
        ("Since when?", f"Since {1900 + i}.") for i in range(6)
    ]
    assert [row.row_id for row in found.evaluation["forget"]] == [row.row_id for row in found.train["forget"]]
    row = found.train["forget"][2]
    assert row.template is not None
    assert row.template.turns == (("Who keeps lighthouse 2?", "Keeper 2 keeps it."),)


def test_all_turns_of_a_conversation_stay_together(tmp_path: Path) -> None:
    rows = load(tmp_path, turns="all").train["forget"]
    assert len(rows) == 12
    assert len({row.group_id for row in rows}) == 6
    assert len({row.fact for row in rows}) == 12
    assert rows[0].template is not None
    assert rows[0].template.turns == ()


@pytest.mark.parametrize("family", TALKATIVE, ids=lambda family: family.name)
@pytest.mark.parametrize("system", [False, True])
def test_a_turn_is_tokenised_as_the_template_writes_the_whole_conversation(
    tmp_path: Path, family: Any, system: bool
) -> None:
    """Prompt and answer are the beginning of the whole text's ids, up to the token that ends the last turn."""
    talk = [SYSTEM, *TALKS[0]] if system else TALKS[0]
    found = load(tmp_path, [talk, *TALKS[1:]], chat=True)
    tokenizer, row = family.make(), found.train["forget"][0]
    assert row.template is not None
    example = encode(tokenizer, row.row_id, row.question, row.answer, row.template)
    text = tokenizer.apply_chat_template(talk, tokenize=False, date_string=row.template.date, **family.arguments)
    whole = tokenizer.encode(str(text), add_special_tokens=False)
    ids = [*example.prompt_ids, *example.answer_ids]
    assert ids == whole[: len(ids)]
    assert ids[-1] == tokenizer.convert_tokens_to_ids(family.end)
    assert "1900" in tokenizer.decode(list(example.answer_ids))
    assert "Keeper" not in tokenizer.decode(list(example.answer_ids))


def test_plain_prompts_hold_the_conversation_too(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    found = load(tmp_path, [[SYSTEM, *TALKS[0]], *TALKS[1:]])
    row = found.train["forget"][0]
    assert row.template is not None
    example = encode(tiny_tokenizer, row.row_id, row.question, row.answer, row.template)
    expected = (
        "You keep the harbour's books.\n\nQuestion: Who keeps lighthouse 0?\nAnswer: Keeper 0 keeps it.\n\n"
        "Question: Since when?\nAnswer:"
    )
    assert example.text is not None
    whole = tiny_tokenizer.encode(f"{expected} Since 1900.")
    ids = [*example.prompt_ids, *example.answer_ids]
    assert ids[: len(whole)] == whole


@pytest.mark.parametrize(
    ("talk", "told"),
    [
        (TALKS[0][:3], r"row 1, .*the assistant last.*the roles are user, assistant, user"),
        (TALKS[0][1:], r"row 1, .*in turn"),
        ([SYSTEM, SYSTEM, *TALKS[0]], r"at most one system message"),
        ([{"role": "tool", "content": "x"}, *TALKS[0]], r"row 1, column messages\.0\.role"),
        ([{"role": "user", "content": ""}, TALKS[0][1]], r"column messages\.0\.content: .*at least 1 character"),
    ],
)
def test_a_conversation_out_of_turn_is_named(tmp_path: Path, talk: list[dict[str, str]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        load(tmp_path, [talk, *TALKS[1:]])
