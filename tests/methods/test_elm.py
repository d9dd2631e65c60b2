"""ELM's target and the task vector, worked by hand over three tokens."""

from __future__ import annotations

import pytest
import torch

from tests.methods.golden import golden_step, terms_by_name
from unlearn_sweep.methods.elm import ELM, novice_target, ramp
from unlearn_sweep.methods.task_vector import TaskVector, negated


def logs(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


def test_target_by_hand() -> None:
    # p (n / e)^2 = (.5 * .25, .3 * 1, .2 * 16), over their sum
    plain, novice, expert = logs(0.5, 0.3, 0.2), logs(0.3, 0.3, 0.4), logs(0.6, 0.3, 0.1)
    eta = torch.tensor([2.0])
    full = novice_target(plain, novice, expert, eta, temperature=1.0, top_k=3)
    expected = torch.tensor([[0.5 * 0.25, 0.3, 0.2 * 16]], dtype=torch.float64)
    torch.testing.assert_close(full, expected / expected.sum())
    cut = novice_target(plain, novice, expert, eta, temperature=1.0, top_k=2)
    expected[0, 0] = 0
    torch.testing.assert_close(cut, expected / expected.sum())


def test_no_weight_is_the_plain_model_at_its_temperature() -> None:
    plain = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = novice_target(plain, -plain, plain, torch.zeros(4), temperature=2.0, top_k=5)
    torch.testing.assert_close(target, torch.softmax(plain / 2, -1))


def test_the_weight_grows_along_each_answer() -> None:
    batch = golden_step().batches["forget"]  # answers of 4 and 2 tokens
    assert ramp(batch, 7.0).tolist() == [1.0, 3.0, 5.0, 7.0, 1.0, 7.0]


def test_terms_that_weigh_nothing_are_not_read() -> None:
    assert set(terms_by_name(ELM(), golden_step())) == {"forget", "retain", "fluency"}
    lone = ELM(retain_weight=0.0, fluency_weight=0.0)
    assert lone.needs().views == ("forget",)
    assert set(terms_by_name(lone, golden_step())) == {"forget"}


@pytest.mark.parametrize(("strength", "kept"), [(0.0, 1.0), (1.0, -1.0), (0.5, 0.0)])
def test_task_vector_is_linear_in_its_strength(strength: float, kept: float) -> None:
    start, trained = torch.tensor([1.0]), torch.tensor([3.0])
    assert negated(start, trained, strength).tolist() == [kept]
    assert TaskVector(strength=strength).final(start, trained).tolist() == [kept]
