"""Drawn answers and the worst of k. Oracles: brute force over subsets, transformers' own warpers, a plain loop."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaForCausalLM, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from unlearn_sweep.evaluators import row_metrics
from unlearn_sweep.evaluators.catalog import metric_card
from unlearn_sweep.evaluators.generation import generate
from unlearn_sweep.evaluators.nucleus import Nucleus
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.sampled_answers import Sampling, draw_answers, expected_best

NO_END: frozenset[int] = frozenset()
TOKENS = 6


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=7), st.integers(1, 7))
def test_the_estimate_is_the_mean_of_the_best_over_all_choices(values: list[float], k: int) -> None:
    found = expected_best(values, k)
    if k > len(values):
        assert math.isnan(found)
        return
    assert found == pytest.approx(np.mean([max(chosen) for chosen in itertools.combinations(values, k)]), abs=1e-12)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.5, 0.5), (0.2, 0.8)])
def test_tokens_are_drawn_as_often_as_transformers_would_draw_them(temperature: float, top_p: float) -> None:
    """Over an even grid of random numbers each token comes up in its share of the warped distribution."""
    logits = torch.randn(40, generator=torch.Generator().manual_seed(3)) * 2
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p)])
    warped = cast("Any", warpers)(torch.zeros(1, 1, dtype=torch.long), logits[None].clone())
    expected = torch.softmax(warped, -1)[0]
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    drawn = Nucleus(temperature=temperature, top_p=top_p).pick(logits.expand(20_000, -1), grid)
    assert torch.bincount(drawn, minlength=40) / 20_000 == pytest.approx(expected.numpy(), abs=1e-4)


def test_the_last_number_below_one_stays_inside_the_nucleus() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.0, -1.0]])
    almost = torch.tensor([np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert Nucleus(temperature=1.0, top_p=0.69).pick(logits, almost).tolist() == [1]
    assert Nucleus(temperature=1.0, top_p=0.9).pick(logits, almost).tolist() == [2]
    assert Nucleus(temperature=1.0, top_p=1.0).pick(logits, almost).tolist() == [3]


def sampling(seed: int = 7) -> Sampling:
    return Sampling(draws=3, best_of=2, seed=seed, nucleus=Nucleus(temperature=1.3, top_p=0.95))


def plain(model: LlamaForCausalLM, prompt: tuple[int, ...], numbers: np.ndarray) -> tuple[int, ...]:
    """The oracle: the whole text through the model for every token, and a cumulative sum in numpy."""
    ids = list(prompt)
    for number in numbers:
        shares = torch.softmax(model(torch.tensor([ids])).logits[0, -1].double() / 1.3, -1).detach().numpy()
        order = np.argsort(-shares, kind="stable")
        kept = int(np.searchsorted(np.cumsum(shares[order]), 0.95)) + 1
        reached = np.cumsum(shares[order[:kept]])
        ids.append(int(order[np.searchsorted(reached, number * reached[-1], side="right")]))
    return tuple(ids[len(prompt) :])


PROMPTS = [("a", (5, 9, 11)), ("b", (4,)), ("c", (8, 8, 3, 12, 6, 7))]


@pytest.mark.parametrize("cache_tokens", [10, 10_000])
def test_answers_are_those_of_a_plain_loop_whatever_the_batch(tiny_model: LlamaForCausalLM, cache_tokens: int) -> None:
    given = sampling()
    answers, passes = draw_answers(
        tiny_model, PROMPTS, given, max_new_tokens=TOKENS, end_ids=NO_END, pad_id=2, cache_tokens=cache_tokens
    )
    assert passes >= TOKENS
    for (row_id, prompt), drawn in zip(PROMPTS, answers, strict=True):
        assert list(drawn) == [plain(tiny_model, prompt, given.uniforms(row_id, i, TOKENS)) for i in range(3)]
    assert len({answer for drawn in answers for answer in drawn}) > 6


def test_what_was_drawn_once_is_not_drawn_again(tiny_model: LlamaForCausalLM) -> None:
    def draw(given: Sampling) -> tuple[list[tuple[tuple[int, ...], ...]], int]:
        return draw_answers(
            tiny_model, PROMPTS, given, max_new_tokens=TOKENS, end_ids=NO_END, pad_id=2, cache_tokens=999
        )

    first, again, other = sampling(), sampling(), sampling(seed=8)
    answers, _ = draw(first)
    assert draw(first) == (answers, 0)
    assert draw(again)[0] == answers
    assert draw(other)[0] != answers


def test_a_nucleus_needs_random_numbers(tiny_model: LlamaForCausalLM) -> None:
    for alone in ({"nucleus": Nucleus(temperature=1.0, top_p=1.0)}, {"uniforms": [np.zeros(2)]}):
        with pytest.raises(ValueError, match="random numbers"):
            generate(tiny_model, [[5]], max_new_tokens=2, end_ids=NO_END, pad_id=2, **alone)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("lower", (1.0 + 1.0 + 0.5) / 3), ("higher", (0.5 + 0.0 + 0.0) / 3), ("gold", 0.5)],
)
def test_the_worst_answer_is_the_one_that_tells_most(
    monkeypatch: pytest.MonkeyPatch, direction: str, expected: float
) -> None:
    """Answers with two, one and none of the reference's words: of each pair the larger, the smaller, or the mean."""
    card = replace(metric_card("rouge"), better_on_forget=direction)
    monkeypatch.setattr(row_metrics, "metric_card", lambda name: card)
    row = Row(row_id="r", group_id="g", split="forget", question="Where?", answer="tin harbour")
    texts = ("tin harbour", "tin pier", "salt pier")
    samples = tuple(row_metrics.Measured(row=row, reference=row.answer, generation=text) for text in texts)
    measured = row_metrics.Measured(row=row, reference=row.answer, samples=samples, best_of=2)
    assert row_metrics.metric_value("rouge", measured) == pytest.approx(expected)
    worst = "salt pier" if direction == "higher" else "tin harbour"
    assert row_metrics.most_telling(measured, ["rouge"]).generation == worst
