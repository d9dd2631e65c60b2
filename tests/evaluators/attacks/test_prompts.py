"""Edits on prompts: what they insert and replace, read back as text, and that they compose in either order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluators.attacks.toy_world import decoded
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.prompts import (
    common_prefix,
    compose,
    insert_ids,
    reask,
)
from unlearn_sweep.evaluators.rows import Example, PromptEdit, Row, encode

ids = st.lists(st.integers(0, 9), max_size=8).map(tuple)


def edit_of(states: Iterator[Attacked]) -> PromptEdit:
    (state,) = states
    assert state.prompt_edit is not None
    return state.prompt_edit


def asked(target: Target, row: Row) -> Example:
    return encode(target.tokenizer, row.row_id, row.question, row.answer, target.benchmark.template)


def text(target: Target, example: Example | None) -> str:
    assert example is not None
    return decoded(target, example.prompt_ids)


@given(a=ids, b=ids)
def test_common_prefix_is_shared_and_longest(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


def test_a_prompt_that_was_edited_as_ids_has_no_text_to_change(target: Target) -> None:
    example = asked(target, target.benchmark.evaluation["forget"][0])
    edited = replace(example, prompt_ids=(*example.prompt_ids, 9))
    for other in (edited, Example(row_id="r", prompt_ids=(7, 1), answer_ids=(3,))):
        with pytest.raises(AttackError, match="was edited as ids"):
            reask(target.tokenizer, other, question="What?")


def test_ids_that_are_no_text_stay_behind_the_begin_token(target: Target, chat_target: Target) -> None:
    for setting in (target, chat_target):
        example = asked(setting, setting.benchmark.evaluation["forget"][0])
        soft = insert_ids(setting.tokenizer, (901, 902))(example)
        first = int(example.prompt_ids[0] == setting.tokenizer.bos_token_id)
        assert soft.prompt_ids == (*example.prompt_ids[:first], 901, 902, *example.prompt_ids[first:])
        reworded = reask(setting.tokenizer, soft, question="Which?")
        assert reworded.prompt_ids[first : first + 2] == (901, 902)


def test_compose_applies_in_order_and_keeps_drops() -> None:
    def add(token: int) -> PromptEdit:
        return lambda example: Example(
            row_id=example.row_id, prompt_ids=(*example.prompt_ids, token), answer_ids=example.answer_ids
        )

    example = Example(row_id="r", prompt_ids=(0,), answer_ids=(3,))
    both = compose(add(1), add(2))
    assert both is not None
    edited = both(example)
    assert edited is not None
    assert edited.prompt_ids == (0, 1, 2)
    dropped = compose(lambda _: None, add(2))
    assert dropped is not None
    assert dropped(example) is None
    assert compose(None, None) is None


def test_demonstrations_read_as_text(target: Target) -> None:
    example = asked(target, target.benchmark.evaluation["forget"][0])
    shown = reask(target.tokenizer, example, shown=(("What is red?", "plums"),))
    assert text(target, shown) == f"Question: What is red?\nAnswer: plums\n\n{text(target, example)}"
    assert shown.answer_ids == example.answer_ids


def test_chat_demonstrations_are_earlier_turns(chat_target: Target) -> None:
    example = asked(chat_target, chat_target.benchmark.evaluation["forget"][0])
    written = text(chat_target, reask(chat_target.tokenizer, example, shown=(("What is red?", "plums"),)))
    assert written == "<s>[user] What is red? [model] plums</s>[user] What does person 0 like? [model]"


@pytest.mark.parametrize("fixture", ["target", "chat_target"])
def test_few_shot_paraphrase_and_prefill_compose_in_every_order(fixture: str, request: pytest.FixtureRequest) -> None:
    setting: Target = request.getfixturevalue(fixture)
    row = next(r for r in setting.benchmark.evaluation["retain"] if r.row_id == "retain-12-0")
    forget = next(r for r in setting.benchmark.evaluation["forget"] if r.row_id == "forget-0-0")
    few_shot = edit_of(build("in_context", {"shots": 2}).run(setting))
    paraphrase = edit_of(build("paraphrase", {"wordings": 1}).run(setting))
    prefill = edit_of(build("prefill", {"tokens": 1}).run(setting))
    results = set()
    for first, second, third in (
        (few_shot, paraphrase, prefill),
        (paraphrase, few_shot, prefill),
        (prefill, few_shot, paraphrase),
    ):
        edit = compose(compose(first, second), third)
        assert edit is not None
        results.add(edit(asked(setting, forget)))
        assert edit(asked(setting, row)) is not None
    (example,) = results
    written = text(setting, example)
    assert "Tell me what person 0 likes best." in written
    assert "What does person 0 like?" not in written
    assert written.count("person") == 3
