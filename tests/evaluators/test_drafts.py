"""Guessed tokens, verified several at a time. Oracle: the same answers token by token, which are transformers' own."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM, PreTrainedModel

from tests.evaluators import tiny_models
from tests.evaluators.test_generation import NEW_TOKENS, NO_END, PROMPTS, plain
from unlearn_sweep.evaluators.drafts import FIRST, LONGEST, PAUSE, Drafter
from unlearn_sweep.evaluators.generation import Generated, generate
from unlearn_sweep.evaluators.generation_batch import places_of

Texts = list[list[tuple[int, ...]]]


def written(model: PreTrainedModel, texts: Texts | None, ends: frozenset[int] = NO_END, **options: Any) -> Generated:
    return generate(model, PROMPTS, max_new_tokens=NEW_TOKENS, end_ids=ends, pad_id=2, texts=texts, **options)


def spoilt(answer: tuple[int, ...], draw: random.Random) -> tuple[int, ...]:
    """The answer with tokens changed, left out and put in."""
    found: list[int] = []
    for token in answer:
        kind = draw.choice(("same", "same", "same", "changed", "missing", "doubled"))
        other = draw.randrange(3, tiny_models.VOCABULARY)
        found += {"same": [token], "changed": [other], "missing": [], "doubled": [token, token]}[kind]
    return tuple(found)


@pytest.fixture(scope="module")
def answers(tiny_model: LlamaForCausalLM) -> list[tuple[int, ...]]:
    return [plain(tiny_model.eval(), prompt, NO_END) for prompt in PROMPTS]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cache_tokens=st.sampled_from([60, 300, 16384]), ends=st.integers(0, 3))
def test_no_draft_changes_an_answer(
    tiny_model: LlamaForCausalLM, answers: list[tuple[int, ...]], seed: int, cache_tokens: int, ends: int
) -> None:
    draw = random.Random(seed)
    stops = frozenset(draw.choice(answer) for answer in draw.sample(answers, ends))
    texts = [[spoilt(answer, draw) for _ in range(draw.randint(0, 3))] for answer in answers]
    openings = [answer[: draw.randint(0, 3)] for answer in answers] if not stops else None
    expected = [cut(answer, stops) for answer in answers]
    found = written(tiny_model, texts, stops, cache_tokens=cache_tokens, openings=openings)
    assert list(found.tokens) == expected


def cut(answer: tuple[int, ...], stops: frozenset[int]) -> tuple[int, ...]:
    place = next((place + 1 for place, token in enumerate(answer) if token in stops), len(answer))
    return answer[:place]


@pytest.mark.parametrize("name", tiny_models.ARCHITECTURES)
def test_every_class_gives_the_same_answers(name: str) -> None:
    model = tiny_models.architecture(name).eval()
    expected = written(model, None)
    found = written(model, [[(*answer[:6], 3, *answer[7:])] for answer in expected.tokens])
    assert found.tokens == expected.tokens
    windows = name in ("mistral", "gemma")  # a window would count tokens that were refused
    assert (found.forward_passes == NEW_TOKENS) == windows


def test_right_drafts_save_passes(tiny_model: LlamaForCausalLM, answers: list[tuple[int, ...]]) -> None:
    """12 tokens: one from the prompt, then 1 + 2, 1 + 4 and the last 3."""
    assert written(tiny_model, [[answer] for answer in answers]).forward_passes == 4
    assert written(tiny_model, [[] for _ in answers]).forward_passes > 4


def test_drafts_take_no_more_of_the_cache_than_is_planned(tiny_model: LlamaForCausalLM) -> None:
    """Texts of which a token in three is wrong: the widest mask stays within what batches are planned with."""
    draw, widths = random.Random(1), []
    expected = written(tiny_model, None).tokens

    def seen(_: Any, args: Any, options: dict[str, Any]) -> None:
        widths.append(options["attention_mask"].shape[1])

    handle = tiny_model.register_forward_pre_hook(seen, with_kwargs=True)
    try:
        found = written(tiny_model, [[spoilt(answer, draw)] for answer in expected])
    finally:
        handle.remove()
    assert found.tokens == expected
    assert max(widths) <= max(map(len, PROMPTS)) + places_of(NEW_TOKENS, drafts=True)


def test_texts_and_draws_exclude_each_other(tiny_model: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match="one list for each prompt; got 1 for 12"):
        written(tiny_model, [[]])


def test_drafts_by_hand() -> None:
    text = (10, 11, 12, 13, 14, 15, 16)
    drafter = Drafter(texts=[text], prompt=(1, 2, 3), length=LONGEST)
    assert drafter.draft((10, 11), 3) == [12, 13, 14]
    assert drafter.draft((10, 99), 3) == [12, 13, 14]  # another token in the place of 11
    assert drafter.draft((99, 14, 15), 9) == [16]  # moved by one place
    assert drafter.draft((77, 78, 79), 9) == []
    assert drafter.draft((10, 11), 0) == []
    assert drafter.draft((7, 8, 7, 8), 4) == [7, 8, 7, 8]  # what it repeats
    assert drafter.draft((50, 2, 3, 6, 2, 3), 2) == [6, 2]


def test_drafts_grow_and_pause() -> None:
    drafter = Drafter(texts=[tuple(range(100))], prompt=())
    drafter.learn(FIRST, FIRST, FIRST + 1)
    assert drafter.length == 2 * FIRST
    for _ in range(5):
        drafter.learn(drafter.length, drafter.length, drafter.length + 1)
    assert drafter.length == LONGEST
    while drafter.length:
        drafter.learn(drafter.length, 0, 1)
    assert drafter.draft((1, 2), 9) == []
    for waited in (PAUSE, 2 * PAUSE):
        for _ in range(waited):
            assert drafter.length == 0
            drafter.learn(0, 0, 1)
        assert len(drafter.draft((1, 2), 9)) == 1
        drafter.learn(1, 0, 1)


def test_a_batch_of_few_rows_with_drafts_goes_token_by_token(
    tiny_model: LlamaForCausalLM, answers: list[tuple[int, ...]]
) -> None:
    """Where most rows have nothing to guess, the others' guesses would be padding for them."""
    unknown = [(5, 5, 5, 5)] * (len(answers) - 3)
    fed: list[int] = []
    handle = tiny_model.model.embed_tokens.register_forward_hook(lambda _, inputs, __: fed.append(inputs[0].shape[1]))
    try:
        written(tiny_model, [*([answer] for answer in answers[:3]), *([text] for text in unknown)])
    finally:
        handle.remove()
    assert fed[1] == 1


def test_a_batch_whose_guesses_are_wrong_stops_guessing(
    tiny_model: LlamaForCausalLM, answers: list[tuple[int, ...]]
) -> None:
    """Oracle: the rule. In the second pass two guesses a row, all wrong; on a CPU half of them must be right."""
    wrong = [[(answer[0], *((token + 1) % tiny_models.VOCABULARY for token in answer[1:]))] for answer in answers]
    fed: list[int] = []
    handle = tiny_model.model.embed_tokens.register_forward_hook(lambda _, inputs, __: fed.append(inputs[0].shape[1]))
    try:
        found = written(tiny_model, wrong)
    finally:
        handle.remove()
    assert list(found.tokens) == answers
    assert fed[1:] == [1 + FIRST, *[1] * (NEW_TOKENS - 2)]
