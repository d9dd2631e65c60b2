"""Token scores. Oracle: one plain, unbatched forward per example and `F.cross_entropy` over its answer tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedModel

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.likelihood import LikelihoodPass, NonFiniteLogits, TokenScores, score
from unlearn_sweep.evaluators.rows import Example

TOLERANCE = 2e-5


def make_examples(families: int, seed: int = 0) -> list[Example]:
    """Prompts of one to 20 tokens with one to five answers each of one to nine tokens, shuffled."""
    draw = random.Random(seed)
    examples = []
    for family in range(families):
        prompt = tuple(draw.randrange(3, tiny_models.VOCABULARY) for _ in range(draw.randint(1, 20)))
        for member in range(draw.randint(1, 5)):
            answer = tuple(draw.randrange(3, tiny_models.VOCABULARY) for _ in range(draw.randint(1, 9)))
            examples.append(Example(row_id=f"{family}/{member}", prompt_ids=prompt, answer_ids=answer))
    draw.shuffle(examples)
    return examples


def plain(model: PreTrainedModel, example: Example) -> tuple[np.ndarray, np.ndarray]:
    """The oracle: log-probability and argmax at each answer position of the whole sequence, alone."""
    ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
    with torch.no_grad():
        logits = model.eval()(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1].float()
    nll = functional.cross_entropy(logits, torch.tensor(example.answer_ids), reduction="none")
    return -nll.numpy(), logits.argmax(-1).numpy()


def assert_same(found: Sequence[TokenScores], expected: Sequence[TokenScores]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.logp, other.logp, atol=TOLERANCE)
        np.testing.assert_array_equal(one.argmax, other.argmax)


@pytest.mark.parametrize("share_prompts", [True, False])
@pytest.mark.parametrize("name", tiny_models.ARCHITECTURES)
def test_scores_are_those_of_a_plain_unbatched_forward(name: str, share_prompts: bool) -> None:
    model = tiny_models.architecture(name)
    examples = make_examples(8)
    found = score(model, examples, pad_id=2, batch_tokens=100, share_prompts=share_prompts)
    for example, scores in zip(examples, found.scores, strict=True):
        logp, argmax = plain(model, example)
        np.testing.assert_allclose(scores.logp, logp, atol=TOLERANCE)
        np.testing.assert_array_equal(scores.argmax, argmax)
        np.testing.assert_array_equal(scores.correct, argmax == np.array(example.answer_ids))
        assert scores.logp.dtype == np.float32


REFERENCE_EXAMPLES = make_examples(7, seed=3)


@pytest.fixture(scope="module")
def reference(tiny_model: LlamaForCausalLM) -> LikelihoodPass:
    return score(tiny_model, REFERENCE_EXAMPLES, pad_id=2)


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(len(REFERENCE_EXAMPLES))),
    batch_tokens=st.integers(1, 600),
    pad_id=st.integers(0, tiny_models.VOCABULARY - 1),
    share_prompts=st.booleans(),
)
def test_order_batching_and_padding_do_not_matter(
    tiny_model: LlamaForCausalLM,
    reference: LikelihoodPass,
    order: list[int],
    batch_tokens: int,
    pad_id: int,
    share_prompts: bool,
) -> None:
    shuffled = [REFERENCE_EXAMPLES[index] for index in order]
    found = score(tiny_model, shuffled, pad_id=pad_id, batch_tokens=batch_tokens, share_prompts=share_prompts)
    assert_same(found.scores, [reference.scores[index] for index in order])


def test_leaving_rows_out_does_not_change_the_others(tiny_model: LlamaForCausalLM, reference: LikelihoodPass) -> None:
    assert_same(score(tiny_model, REFERENCE_EXAMPLES[:3], pad_id=2).scores, reference.scores[:3])


def test_forward_passes_are_counted(tiny_model: LlamaForCausalLM) -> None:
    alone = [Example(row_id=str(n), prompt_ids=(n + 3, 4), answer_ids=(5, 6)) for n in range(4)]
    calls: list[int] = []
    handle = tiny_model.register_forward_hook(lambda *_: calls.append(1))
    try:
        assert score(tiny_model, alone, pad_id=2).forward_passes == len(calls) == 1
        calls.clear()
        assert score(tiny_model, alone, pad_id=2, batch_tokens=4).forward_passes == len(calls) == 4
        calls.clear()
        shared = [Example(row_id=str(n), prompt_ids=(3, 4), answer_ids=(5, 6, n)) for n in range(4)]
        assert score(tiny_model, shared, pad_id=2).forward_passes == len(calls) == 2
        calls.clear()
        assert score(tiny_model, [], pad_id=2) == LikelihoodPass(scores=(), forward_passes=0)
        assert not calls
    finally:
        handle.remove()


def test_shared_prompts_are_read_once(tiny_model: LlamaForCausalLM) -> None:
    """What sharing is for: 12 answers to one prompt of 60 tokens feed 60 + 12 x 1 tokens, not 12 x 61."""
    prompt = tuple(range(3, 63))
    examples = [Example(row_id=str(n), prompt_ids=prompt, answer_ids=(70 + n, 1)) for n in range(12)]
    fed: list[int] = []
    handle = tiny_model.model.embed_tokens.register_forward_hook(lambda _, inputs, __: fed.append(inputs[0].numel()))
    try:
        score(tiny_model, examples, pad_id=2)
        shared = sum(fed)
        fed.clear()
        score(tiny_model, examples, pad_id=2, share_prompts=False)
        assert (shared, sum(fed)) == (60 + 12, 12 * 61)
    finally:
        handle.remove()


def few_shot_examples(one_token: bool) -> list[Example]:
    """Six prompts with 70 first tokens in common and three answers each, and one prompt that ends with these tokens."""
    draw = random.Random(5)
    opening = tuple(draw.randrange(3, tiny_models.VOCABULARY) for _ in range(70))
    examples = []
    for family in range(6):
        prompt = (*opening, *(draw.randrange(3, tiny_models.VOCABULARY) for _ in range(family)), 4 + family)
        for member in range(3):
            rest = () if one_token else tuple(draw.randrange(3, tiny_models.VOCABULARY) for _ in range(member))
            examples.append(Example(row_id=f"{family}/{member}", prompt_ids=prompt, answer_ids=(member + 5, *rest)))
    return [*examples, Example(row_id="short", prompt_ids=opening, answer_ids=(9, 8))]


@pytest.mark.parametrize("one_token", [True, False])
@pytest.mark.parametrize("name", tiny_models.ARCHITECTURES)
def test_scores_behind_a_common_beginning_are_those_of_whole_sequences(name: str, one_token: bool) -> None:
    model = tiny_models.architecture(name)
    examples = few_shot_examples(one_token)
    found = score(model, examples, pad_id=2, batch_tokens=300)
    for example, scores in zip(examples, found.scores, strict=True):
        logp, argmax = plain(model, example)
        np.testing.assert_allclose(scores.logp, logp, atol=TOLERANCE)
        np.testing.assert_array_equal(scores.argmax, argmax)


def test_a_common_beginning_and_a_prompt_of_letters_are_read_once(tiny_model: LlamaForCausalLM) -> None:
    """69 tokens of the beginning (one is left to the shortest prompt) and the prompts' rest, padded; no answer."""
    examples = [one for one in few_shot_examples(one_token=True) if one.row_id != "short"]
    letters = [Example(row_id=str(n), prompt_ids=(3, 4, 5), answer_ids=(n + 6,)) for n in range(4)]
    fed: list[int] = []
    handle = tiny_model.model.embed_tokens.register_forward_hook(lambda _, inputs, __: fed.append(inputs[0].numel()))
    try:
        found = score(tiny_model, letters, pad_id=2)
        assert (sum(fed), found.forward_passes) == (3, 1)
        fed.clear()
        found = score(tiny_model, examples, pad_id=2)
        assert (fed, found.forward_passes) == ([70, 6 * 6], 2)
    finally:
        handle.remove()


def test_the_head_runs_at_supervised_positions_only(tiny_model: LlamaForCausalLM) -> None:
    positions: list[int] = []
    handle = tiny_model.lm_head.register_forward_hook(
        lambda _, inputs, __: positions.append(inputs[0].shape[:-1].numel())
    )
    try:
        score(tiny_model, REFERENCE_EXAMPLES, pad_id=2, share_prompts=False)
        assert sum(positions) == sum(len(example.answer_ids) for example in REFERENCE_EXAMPLES)
    finally:
        handle.remove()


def test_model_and_random_state_are_left_as_found() -> None:
    model = tiny_models.llama().train()
    state = torch.get_rng_state()
    score(model, REFERENCE_EXAMPLES, pad_id=2)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("prompt", "answer", "message"), [((), (5,), "'r1' has no prompt token"), ((5,), (), "'r1' has no answer")]
)
def test_an_example_without_prompt_or_answer_is_refused(
    tiny_model: LlamaForCausalLM, prompt: tuple[int, ...], answer: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        score(tiny_model, [Example(row_id="r1", prompt_ids=prompt, answer_ids=answer)], pad_id=2)


def test_a_diverged_model_is_named_not_averaged_away() -> None:
    model = tiny_models.llama()
    with torch.no_grad():
        model.lm_head.weight[17] = float("nan")
    examples = [
        Example(row_id="a", prompt_ids=(3,), answer_ids=(5, 6)),
        Example(row_id="b", prompt_ids=(4,), answer_ids=(7,)),
    ]
    with pytest.raises(NonFiniteLogits, match="2 of 2 examples") as caught:
        score(model, examples, pad_id=2)
    assert caught.value.row_ids == ("a", "b")
