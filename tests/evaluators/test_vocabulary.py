"""Reductions over the vocabulary: log-probability, argmax, and moments of the distribution."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators import vocabulary
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.rows import Example
from unlearn_sweep.evaluators.vocabulary import likeliest, logp_moments, token_statistics


def test_log_softmax_of_a_bfloat16_model_is_taken_in_float32() -> None:
    logits = torch.randn(5, 50).bfloat16()
    labels = torch.arange(5)
    logp = token_statistics(logits, labels).logp
    expected = functional.log_softmax(logits.double(), dim=-1)[torch.arange(5), labels]
    assert logp.dtype == torch.float32
    torch.testing.assert_close(logp.double(), expected, atol=1e-6, rtol=1e-6)


def test_parts_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: torch's cross-entropy over all rows at once, and the moments of all rows in float64."""
    monkeypatch.setattr(vocabulary, "CPU_ENTRIES", 70)
    logits, labels = torch.randn(25, 7), torch.randint(0, 7, (25,))
    found = token_statistics(logits, labels, moments=torch.arange(25) % 3 > 0)
    torch.testing.assert_close(-found.logp, functional.cross_entropy(logits, labels, reduction="none"))
    assert torch.equal(found.argmax, logits.argmax(-1))
    wide = logits.double().log_softmax(-1)
    assert found.mean is not None
    expected = (wide.exp() * wide).sum(-1)
    expected[::3] = torch.nan
    torch.testing.assert_close(found.mean.double(), expected, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("entries", [5, 128, 255, 256, 300, 1_000])
def test_the_likeliest_token_is_the_first_of_the_highest(entries: int) -> None:
    """Oracle: torch's argmax, at values of which many are equal, and in rows that have a NaN or an infinity."""
    logits = torch.randint(0, 9, (60, entries), generator=torch.Generator().manual_seed(entries)).float()
    logits[0, entries - 1] = math.nan
    logits[1, entries // 2] = math.inf
    logits[2] = -math.inf
    logits[3, -1] = 99.0
    assert torch.equal(likeliest(logits), logits.argmax(-1))
    assert torch.equal(likeliest(logits.bfloat16()), logits.bfloat16().argmax(-1))


def test_moments_are_those_of_the_distribution() -> None:
    values = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)) * 4
    mean, variance = logp_moments(values)
    wide = values.double().log_softmax(-1)
    expected = (wide.exp() * wide).sum(-1)
    torch.testing.assert_close(mean.double(), expected, rtol=1e-4, atol=1e-5)
    second = (wide.exp() * wide.square()).sum(-1) - expected.square()
    torch.testing.assert_close(variance.double(), second, rtol=1e-3, atol=1e-4)


def test_a_forbidden_token_does_not_spoil_the_moments() -> None:
    """p log p is 0 where p is 0; computed plainly it is 0 times minus infinity."""
    mean, variance = logp_moments(torch.tensor([[0.0, 0.0, -math.inf]]))
    assert mean.item() == pytest.approx(-math.log(2))
    assert variance.item() == pytest.approx(0.0, abs=1e-6)


def test_a_broken_row_stays_visible() -> None:
    logits = torch.tensor([[0.0, math.nan, 0.0], [0.0, math.inf, 0.0], [0.0, 1.0, 0.0]])
    found = token_statistics(logits, torch.tensor([0, 0, 0]))
    assert found.logp.isfinite().tolist() == [False, False, True]


def test_moments_are_those_of_the_examples_asked_for() -> None:
    """Oracle: the same pass with the moments of every example; both ways of reading prompts."""
    model = tiny_models.llama()
    examples = [
        Example(row_id=str(number), prompt_ids=(5, 6), answer_ids=tuple(range(7, 9 + number))) for number in range(4)
    ]
    for share in (True, False):
        every = score(model, examples, pad_id=2, moments=range(4), share_prompts=share).scores
        some = score(model, examples, pad_id=2, moments=[1, 3], share_prompts=share).scores
        assert [row.mean is not None for row in some] == [False, True, False, True]
        for index in (1, 3):
            torch.testing.assert_close(torch.tensor(some[index].mean), torch.tensor(every[index].mean))
            torch.testing.assert_close(torch.tensor(some[index].variance), torch.tensor(every[index].variance))
        for one, other in zip(every, some, strict=True):
            torch.testing.assert_close(torch.tensor(one.logp), torch.tensor(other.logp))
