"""Edits on prompts: what they insert and replace, read back as text, and that they compose in either order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluators.attacks.toy_world import decoded
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.prompts import (
    common_prefix,
    compose,
    demonstration_ids,
    insert_behind,
    replace_within,
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


@given(before=ids, rest=ids, inserted=ids)
def test_insert_behind(before: tuple[int, ...], rest: tuple[int, ...], inserted: tuple[int, ...]) -> None:
    example = Example(row_id="r", prompt_ids=before + rest, answer_ids=(1,))
    assert insert_behind(example, before, inserted).prompt_ids == before + inserted + rest


def test_replace_within_takes_the_last_occurrence() -> None:
    example = Example(row_id="r", prompt_ids=(7, 1, 2, 7, 1, 2, 9), answer_ids=(3,))
    assert replace_within(example, (1, 2), (5,)).prompt_ids == (7, 1, 2, 7, 5, 9)


def test_a_prompt_that_another_edit_rewrote_is_an_error() -> None:
    example = Example(row_id="r", prompt_ids=(7, 1), answer_ids=(3,))
    with pytest.raises(AttackError, match="no longer begins"):
        insert_behind(example, (8,), (1,))
    with pytest.raises(AttackError, match="is not in the prompt"):
        replace_within(example, (9,), (1,))


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
    rows = [Row(row_id="d", group_id="d", split="retain", question="What is red?", answer="plums")]
    before, inserted = demonstration_ids(target.tokenizer, rows, target.benchmark.template)
    assert before == ()
    assert decoded(target, inserted) == "Question: What is red?\nAnswer: plums\n\n"


def test_chat_demonstrations_are_earlier_turns(chat_target: Target) -> None:
    rows = [Row(row_id="d", group_id="d", split="retain", question="What is red?", answer="plums")]
    before, inserted = demonstration_ids(chat_target.tokenizer, rows, chat_target.benchmark.template)
    example = asked(chat_target, chat_target.benchmark.evaluation["forget"][0])
    written = text(chat_target, insert_behind(example, before, inserted))
    assert written == "<s>[user] What is red? [model] plums</s>[user] What does person 0 like? [model] "


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
