"""Rows as they are asked. Oracles: `encode`, one text at a time, and cases by hand."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from unlearn_sweep.evaluators.row_encoder import DROPPED_BY_EDIT, EXCEEDS_CONTEXT, NO_ANSWER_TOKEN, RowEncoder
from unlearn_sweep.evaluators.rows import Example, Row, Template, encode, encode_many

TEXT = st.text(max_size=12)
ROW = Row(
    row_id="r1",
    group_id="g1",
    split="forget",
    question="Who wrote The Tin Harbour?",
    answer="Basil Kuwaiti",
    paraphrased_answer="It was Basil Kuwaiti",
    perturbed_answers=("Anna Oslo", "Ben Dakar"),
)
CHAT = "{% for m in messages %}[user] {{ m.content }} {% endfor %}{% if add_generation_prompt %}[model] {% endif %}"


@pytest.fixture(scope="module")
def chat_tokenizer(tiny_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = CHAT
    return tokenizer


@settings(max_examples=40, deadline=None)
@given(asked=st.lists(st.tuples(TEXT, TEXT), max_size=6), chat=st.booleans(), max_tokens=st.integers(1, 60))
def test_encoding_many_is_encoding_each(
    chat_tokenizer: PreTrainedTokenizerFast, asked: list[tuple[str, str]], chat: bool, max_tokens: int
) -> None:
    template = Template(chat=chat)
    rows = [(str(number), question, answer) for number, (question, answer) in enumerate(asked)]
    expected = [encode(chat_tokenizer, *row, template, max_tokens=max_tokens) for row in rows]
    assert encode_many(chat_tokenizer, rows, template, max_tokens=max_tokens) == expected


def test_answer_paraphrase_and_perturbed_answers_follow_the_rows_own_question(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    asked, dropped = RowEncoder(tokenizer=tiny_tokenizer, template=Template()).ask([ROW], alternatives=True)
    (row,) = asked
    assert dropped == {}
    assert row.reference == "Basil Kuwaiti"
    assert row.paraphrase is not None
    texts = [tiny_tokenizer.decode(list(e.answer_ids)) for e in (row.answer, row.paraphrase, *row.perturbed)]
    assert texts == [" Basil Kuwaiti<eos>", " It was Basil Kuwaiti<eos>", " Anna Oslo<eos>", " Ben Dakar<eos>"]
    assert {e.prompt_ids for e in (row.paraphrase, *row.perturbed)} == {row.answer.prompt_ids}
    assert {e.row_id for e in (row.answer, row.paraphrase, *row.perturbed)} == {"r1"}, "edits know rows by their id"


def test_alternatives_are_not_tokenised_where_nobody_asks(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    (row,), _ = RowEncoder(tokenizer=tiny_tokenizer, template=Template()).ask([ROW], alternatives=False)
    assert row.paraphrase is None
    assert row.perturbed == ()


def test_a_prefill_leaves_the_rest_as_reference(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    def prefill(example: Example) -> Example:
        return replace(
            example, prompt_ids=example.prompt_ids + example.answer_ids[:1], answer_ids=example.answer_ids[1:]
        )

    asking = RowEncoder(tokenizer=tiny_tokenizer, template=Template(), prompt_edit=prefill)
    (row,), _ = asking.ask([ROW], alternatives=True)
    given_away = tiny_tokenizer.decode(list(row.answer.prompt_ids[-1:]))
    assert f"{given_away}{row.reference}".replace(" ", "") == "BasilKuwaiti"
    assert row.perturbed[0].prompt_ids != row.answer.prompt_ids, "each alternative gives away its own beginning"


def test_a_row_goes_with_its_answer_and_an_alternative_alone(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    def refuse(text: str) -> RowEncoder:
        ids = tuple(tiny_tokenizer.encode(text, add_special_tokens=False))

        def edit(example: Example) -> Example | None:
            return None if example.answer_ids[: len(ids)] == ids else example

        return RowEncoder(tokenizer=tiny_tokenizer, template=Template(), prompt_edit=edit)

    other = replace(ROW, row_id="r2", answer="Anna Oslo")
    asked, dropped = refuse(" Basil").ask([ROW, other], alternatives=True)
    assert ([row.row.row_id for row in asked], dropped) == (["r2"], {DROPPED_BY_EDIT: 1})
    (row,), dropped = refuse(" Anna").ask([ROW], alternatives=True)
    assert (len(row.perturbed), dropped) == (1, {})
    (row,), _ = refuse(" It was").ask([ROW], alternatives=True)
    assert row.paraphrase is None
    assert len(row.perturbed) == 2, "the first perturbed answer does not take the paraphrase's place"


def test_rows_that_do_not_fit_are_counted(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    long = replace(ROW, row_id="long", question="Who? " * 40)
    asking = RowEncoder(tokenizer=tiny_tokenizer, template=Template(), context=40)
    asked, dropped = asking.ask([ROW, long], alternatives=True)
    assert ([row.row.row_id for row in asked], dropped) == (["r1"], {NO_ANSWER_TOKEN: 1})

    def pushed(example: Example) -> Example:
        return replace(example, prompt_ids=example.prompt_ids * 4)

    asking = RowEncoder(tokenizer=tiny_tokenizer, template=Template(), context=40, prompt_edit=pushed)
    assert asking.ask([ROW], alternatives=True) == ([], {EXCEEDS_CONTEXT: 1})


def test_a_row_id_given_twice_is_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="row_id 'r1' is given more than once"):
        RowEncoder(tokenizer=tiny_tokenizer, template=Template()).ask([ROW, ROW], alternatives=False)
