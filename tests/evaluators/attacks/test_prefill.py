"""Prefilling moves tokens, never invents or loses any, and drops rows with nothing left."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluators.attacks.toy_world import decoded
from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.prefill import gold_prefill
from unlearn_sweep.evaluators.rows import Example, Row, encode

END = 1
answers = st.lists(st.integers(2, 50), max_size=6).map(lambda ids: (*ids, END))


@given(prompt=st.lists(st.integers(2, 50), min_size=1).map(tuple), answer=answers, tokens=st.integers(0, 8))
def test_prompt_and_answer_together_stay_the_same_or_the_row_goes(
    prompt: tuple[int, ...], answer: tuple[int, ...], tokens: int
) -> None:
    example = Example(row_id="r", prompt_ids=prompt, answer_ids=answer, ending=1)
    edited = gold_prefill(tokens)(example)
    if tokens == 0:
        assert edited == example
    elif tokens >= len(answer) - 1:
        assert edited is None
    else:
        assert edited is not None
        assert edited.prompt_ids + edited.answer_ids == prompt + answer
        assert len(edited.prompt_ids) == len(prompt) + tokens


def test_without_end_of_text_the_last_token_counts() -> None:
    example = Example(row_id="r", prompt_ids=(5,), answer_ids=(6, 7))
    assert gold_prefill(1)(example) == Example(row_id="r", prompt_ids=(5, 6), answer_ids=(7,))
    assert gold_prefill(2)(example) is None


def test_strengths_with_nothing_left_are_not_states(target: Target) -> None:
    """Toy answers have 3 to 5 tokens (oracle: counted below), so 8 tokens leave nothing."""
    examples = encode_rows(target.tokenizer, target.benchmark.evaluation["forget"], target.benchmark.template)
    longest = max(len(example.answer_ids) - 1 for example in examples)
    states = list(build("prefill", {"tokens": [0, 1, longest, longest + 9]}).run(target))
    assert [state.strength for state in states] == [0, 1]
    assert states[0].notes == {"share_of_forget_rows_scored": 1.0}


def test_share_of_rows_scored_counts_dropped_rows(target: Target) -> None:
    rows = [
        Row(row_id="a", group_id="a", split="forget", question="q", answer="figs"),
        Row(row_id="b", group_id="b", split="forget", question="q", answer="Arden and figs and plums"),
    ]
    lengths = [
        len(encode(target.tokenizer, "x", "q", row.answer, target.benchmark.template).answer_ids) - 1 for row in rows
    ]
    benchmark = replace(target.benchmark, evaluation={**target.benchmark.evaluation, "forget": rows})
    (state,) = build("prefill", {"tokens": lengths[0]}).run(replace(target, benchmark=benchmark))
    assert lengths[0] < lengths[1]
    assert state.notes == {"share_of_forget_rows_scored": 0.5}


def test_nothing_left_at_any_strength_is_an_error(target: Target) -> None:
    with pytest.raises(AttackError, match="lower tokens"):
        list(build("prefill", {"tokens": [90]}).run(target))


def test_an_opening_is_written_between_prompt_and_answer(target: Target) -> None:
    (state,) = build("prefill", {"text": "Sure, the answer is"}).run(target)
    example = encode(target.tokenizer, "r", "What?", "figs", target.benchmark.template)
    assert state.prompt_edit is not None
    edited = state.prompt_edit(example)
    assert edited is not None
    text = decoded(target, edited.prompt_ids + edited.answer_ids)
    assert text == "Question: What?\nAnswer: Sure, the answer is figs</s>"
    assert edited.answer_ids == example.answer_ids
    assert state.strength == len(edited.prompt_ids) - len(example.prompt_ids)


def test_an_opening_in_a_chat_ends_its_line(target: Target, chat_target: Target) -> None:
    (state,) = build("prefill", {"text": "Sure:"}).run(chat_target)
    example = encode(chat_target.tokenizer, "r", "What?", "figs", chat_target.benchmark.template)
    assert state.prompt_edit is not None
    edited = state.prompt_edit(example)
    assert edited is not None
    text = decoded(chat_target, edited.prompt_ids + edited.answer_ids)
    assert text == "<s>[user] What? [model] Sure:\nfigs</s>"
