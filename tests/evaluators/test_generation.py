"""Greedy generation. Oracle: transformers' own `generate`, one prompt at a time."""

from __future__ import annotations

import random
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedModel

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.generation import generate, known_opening
from unlearn_sweep.evaluators.likelihood import TokenScores, score
from unlearn_sweep.evaluators.rows import Example

NEW_TOKENS = 12
NO_END: frozenset[int] = frozenset()


def make_prompts(count: int, seed: int = 1) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(3, tiny_models.VOCABULARY) for _ in range(draw.randint(1, 25))] for _ in range(count)]


def plain(model: PreTrainedModel, prompt: list[int], end: frozenset[int]) -> tuple[int, ...]:
    """The oracle."""
    config = GenerationConfig(
        do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=2, eos_token_id=sorted(end) if end else None
    )
    ids = torch.tensor([prompt])
    out = cast("Any", model).generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return tuple(int(token) for token in out[0, len(prompt) :])


@pytest.mark.parametrize("name", tiny_models.ARCHITECTURES)
def test_tokens_are_those_of_transformers_generate(name: str) -> None:
    model = tiny_models.architecture(name).eval()
    prompts = make_prompts(10)
    found = generate(model, prompts, max_new_tokens=NEW_TOKENS, end_ids=NO_END, pad_id=2)
    assert list(found.tokens) == [plain(model, prompt, NO_END) for prompt in prompts]
    assert found.forward_passes == NEW_TOKENS


PROMPTS = make_prompts(12, seed=2)


@pytest.fixture(scope="module")
def ends(tiny_model: LlamaForCausalLM) -> frozenset[int]:
    """Two ids that occur in the middle of the model's answers, so that rows end at different steps."""
    answers = generate(tiny_model, PROMPTS, max_new_tokens=NEW_TOKENS, end_ids=NO_END, pad_id=2).tokens
    return frozenset(answer[place] for answer, place in zip(answers, (0, 2, 4, 6, 3, 5), strict=False))


@pytest.fixture(scope="module")
def expected(tiny_model: LlamaForCausalLM, ends: frozenset[int]) -> list[tuple[int, ...]]:
    return [plain(tiny_model.eval(), prompt, ends) for prompt in PROMPTS]


def test_rows_end_at_their_own_end_of_text(
    tiny_model: LlamaForCausalLM, ends: frozenset[int], expected: list[tuple[int, ...]]
) -> None:
    lengths = {len(answer) for answer in expected}
    assert 1 in lengths, "the fixture must end some rows at once"
    assert len(lengths) > 3, "and others at several later steps"
    found = generate(tiny_model, PROMPTS, max_new_tokens=NEW_TOKENS, end_ids=ends, pad_id=2)
    assert list(found.tokens) == expected
    assert found.forward_passes == max(lengths), "generation stops with its last unfinished row"


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations(range(len(PROMPTS))),
    cache_tokens=st.integers(1, 800),
    pad_id=st.integers(0, tiny_models.VOCABULARY - 1),
)
def test_order_batching_and_padding_do_not_matter(
    tiny_model: LlamaForCausalLM,
    ends: frozenset[int],
    expected: list[tuple[int, ...]],
    order: list[int],
    cache_tokens: int,
    pad_id: int,
) -> None:
    prompts = [PROMPTS[index] for index in order]
    found = generate(
        tiny_model, prompts, max_new_tokens=NEW_TOKENS, end_ids=ends, pad_id=pad_id, cache_tokens=cache_tokens
    )
    assert list(found.tokens) == [expected[index] for index in order]


def test_sampling_settings_of_the_model_play_no_part() -> None:
    model = tiny_models.llama()
    quiet = generate(model, PROMPTS, max_new_tokens=6, end_ids=NO_END, pad_id=2).tokens
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=9.0, repetition_penalty=5.0, max_new_tokens=2
    )
    assert generate(model, PROMPTS, max_new_tokens=6, end_ids=NO_END, pad_id=2).tokens == quiet


def test_finished_rows_leave_the_batch(
    tiny_model: LlamaForCausalLM, ends: frozenset[int], expected: list[tuple[int, ...]]
) -> None:
    """Tokens fed after the prompts: fewer than rows x steps, at least those of unfinished rows."""
    fed: list[int] = []
    handle = tiny_model.model.embed_tokens.register_forward_hook(lambda _, inputs, __: fed.append(len(inputs[0])))
    try:
        generate(tiny_model, PROMPTS, max_new_tokens=NEW_TOKENS, end_ids=ends, pad_id=2)
    finally:
        handle.remove()
    needed = [sum(len(answer) > step for answer in expected) for step in range(len(fed))]
    assert all(rows >= open_rows for rows, open_rows in zip(fed, needed, strict=True))
    assert sum(fed) < 0.8 * len(PROMPTS) * len(fed)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), agreed=st.integers(0, NEW_TOKENS))
def test_an_opening_read_off_the_likelihood_pass_changes_nothing(
    tiny_model: LlamaForCausalLM, ends: frozenset[int], expected: list[tuple[int, ...]], seed: int, agreed: int
) -> None:
    """References that agree with the model's own answer for a while: same tokens as without openings."""
    draw = random.Random(seed)
    references = [(*answer[:agreed], draw.randrange(3, tiny_models.VOCABULARY), 1) for answer in expected]
    examples = [
        Example(row_id=str(n), prompt_ids=tuple(prompt), answer_ids=reference)
        for n, (prompt, reference) in enumerate(zip(PROMPTS, references, strict=True))
    ]
    openings = [
        known_opening(scores, example.answer_ids, end_ids=ends, max_new_tokens=NEW_TOKENS)
        for scores, example in zip(score(tiny_model, examples, pad_id=2).scores, examples, strict=True)
    ]
    found = generate(tiny_model, PROMPTS, max_new_tokens=NEW_TOKENS, end_ids=ends, pad_id=2, openings=openings)
    assert list(found.tokens) == expected
    assert all(opening == answer[: len(opening)] for opening, answer in zip(openings, expected, strict=True))


def test_answers_known_by_heart_need_no_forward(
    tiny_model: LlamaForCausalLM, ends: frozenset[int], expected: list[tuple[int, ...]]
) -> None:
    found = generate(tiny_model, PROMPTS, max_new_tokens=NEW_TOKENS, end_ids=ends, pad_id=2, openings=expected)
    assert list(found.tokens) == expected
    assert found.forward_passes == 0


@pytest.mark.parametrize(
    ("argmax", "answer", "opening"),
    [
        ([5, 6, 1], (5, 6, 1), (5, 6, 1)),  # by heart, end-of-text included
        ([5, 6, 7], (5, 6, 1), (5, 6, 7)),  # goes on where the reference ends
        ([5, 8, 1], (5, 6, 1), (5, 8)),  # leaves at the second token; what follows saw the wrong context
        ([9, 6, 1], (5, 6, 1), (9,)),
        ([1, 6, 1], (5, 6, 1), (1,)),  # ends at once
        ([5, 1, 7, 7], (5, 1, 7, 7), (5, 1)),  # an end-of-text inside the reference ends the answer
        ([5, 6, 7, 8, 9], (5, 6, 7, 8, 9), (5, 6, 7, 8)),  # cut at four tokens
    ],
)
def test_known_opening_by_hand(argmax: list[int], answer: tuple[int, ...], opening: tuple[int, ...]) -> None:
    scores = TokenScores(
        logp=np.zeros(len(argmax), dtype=np.float32),
        argmax=np.array(argmax),
        correct=np.array(argmax) == np.array(answer),
    )
    assert known_opening(scores, answer, end_ids=frozenset({1}), max_new_tokens=4) == opening


def test_bad_input_is_refused(tiny_model: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        generate(tiny_model, [[3]], max_new_tokens=0, end_ids=NO_END, pad_id=2)
    with pytest.raises(ValueError, match="prompt 1 has no token"):
        generate(tiny_model, [[3], []], max_new_tokens=2, end_ids=NO_END, pad_id=2)
    with pytest.raises(ValueError, match="1 openings for 2 prompts"):
        generate(tiny_model, [[3], [4]], max_new_tokens=2, end_ids=NO_END, pad_id=2, openings=[()])
    assert generate(tiny_model, [], max_new_tokens=2, end_ids=NO_END, pad_id=2).tokens == ()
