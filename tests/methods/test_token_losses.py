"""The shared arithmetic: ranges and identities over random logits, extreme values, empty batches, precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.methods.golden import LABELS, LABELS2, model_logits, pack
from unlearn_sweep.methods.reduction import pair_counts, preference_loss, reduce_sums
from unlearn_sweep.methods.token_losses import (
    jensen_shannon,
    jensen_shannon_one_hot,
    kl_from_reference,
    kl_from_uniform,
    negative_entropy,
    negative_log_one_minus_p,
    positions,
    sequence_counts,
    sequence_sums,
    soft_cross_entropy,
    token_nll,
)


def random_logits(seed: int, scale: float, tokens: int = 5, vocabulary: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, tokens, vocabulary, generator=generator, dtype=torch.float64) * scale
    return first, second, torch.randint(vocabulary, (tokens,), generator=generator)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 1.0, 10.0, 100.0]))
def test_divergences_stay_in_their_ranges(seed: int, scale: float) -> None:
    p, q, targets = random_logits(seed, scale)
    tolerance = 1e-12
    assert (token_nll(p, targets) >= 0).all()
    assert (kl_from_reference(p, q) >= -tolerance).all()
    assert (kl_from_uniform(p) >= -tolerance).all()
    assert ((negative_entropy(p) <= tolerance) & (negative_entropy(p) >= -math.log(7) - tolerance)).all()
    assert (negative_log_one_minus_p(p, targets) >= 0).all()
    for value in (jensen_shannon(p, q), jensen_shannon_one_hot(token_nll(p, targets))):
        assert ((value >= -tolerance) & (value <= math.log(2) + tolerance)).all()
    torch.testing.assert_close(jensen_shannon(p, q), jensen_shannon(q, p), rtol=1e-9, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_closed_forms_against_definitions(seed: int, scale: float) -> None:
    # Oracle: probabilities written out, with 0 log 0 = 0.
    logits, reference, targets = random_logits(seed, scale)
    p, r = torch.softmax(logits, -1), torch.softmax(reference, -1)
    one_hot = torch.nn.functional.one_hot(targets, p.shape[-1]).double()
    middle = (p + one_hot) / 2
    jsd = 0.5 * (torch.xlogy(p, p / middle) + torch.xlogy(one_hot, one_hot) - torch.xlogy(one_hot, middle)).sum(-1)
    torch.testing.assert_close(jensen_shannon_one_hot(token_nll(logits, targets)), jsd, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(kl_from_reference(reference, logits), (r * (r / p).log()).sum(-1), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(kl_from_uniform(logits), -(p * p.shape[-1]).log().mean(-1), rtol=1e-9, atol=1e-12)
    p_target = p.gather(-1, targets[:, None]).squeeze(-1)
    torch.testing.assert_close(
        negative_log_one_minus_p(logits, targets), -torch.log1p(-p_target), rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(soft_cross_entropy(one_hot, logits), token_nll(logits, targets), rtol=1e-9, atol=1e-12)


def test_identical_models_have_no_divergence() -> None:
    logits, _, _ = random_logits(0, 5.0)
    assert kl_from_reference(logits, logits).abs().max() == 0
    assert jensen_shannon(logits, logits).abs().max() < 1e-15


@pytest.mark.parametrize("gap", [1e2, 1e4])
def test_a_certain_answer_keeps_its_gradient(gap: float) -> None:
    # 1 - p rounds to 0 here: the naive log(1 - p) is -inf. By hand: -log(1 - p) -> gap - log(V - 1).
    logits = torch.zeros(1, 7, dtype=torch.float32)
    logits[0, 3] = gap
    leaf = logits.requires_grad_()
    value = negative_log_one_minus_p(leaf, torch.tensor([3]))
    assert value.item() == pytest.approx(gap - math.log(6), rel=1e-6)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    assert slope[0, 3].item() == pytest.approx(1.0)
    assert torch.isfinite(slope).all()


def test_an_impossible_target_gives_a_finite_divergence() -> None:
    # q = exp(-1e4) underflows to 0: the divergence is ln 2 and its gradient 0, not NaN.
    nll = torch.tensor([1e4, 0.0], dtype=torch.float32, requires_grad=True)
    value = jensen_shannon_one_hot(nll)
    assert value.tolist() == pytest.approx([math.log(2), 0.0], abs=1e-7)
    (slope,) = torch.autograd.grad(value.sum(), nll)
    assert torch.isfinite(slope).all()
    assert slope[0].item() == 0.0


def test_half_precision_logits_are_computed_in_fp32() -> None:
    first, second, targets = random_logits(3, 5.0)
    low, other = first.bfloat16(), second.bfloat16()
    assert token_nll(low, targets).dtype == torch.float32
    torch.testing.assert_close(token_nll(low, targets), token_nll(low.float(), targets), rtol=0, atol=0)
    torch.testing.assert_close(jensen_shannon(other, low), jensen_shannon(other.float(), low.float()), rtol=0, atol=0)


def test_positions_and_sums_with_an_empty_sequence_in_between() -> None:
    sequence = torch.tensor([0, 0, 0, 2, 2])
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    assert positions(sequence, 3).tolist() == [0, 1, 2, 0, 1]
    assert sequence_counts(sequence, 3).tolist() == [3, 0, 2]
    assert sequence_sums(values, sequence, 3).tolist() == [7.0, 0.0, 24.0]


def test_reductions_by_hand() -> None:
    sums, tokens = torch.tensor([6.0, 0.0, 4.0]), torch.tensor([3, 0, 2])
    assert reduce_sums(sums, tokens, "sequence_sum").tolist() == [6.0, 0.0, 4.0]
    assert reduce_sums(sums, tokens, "sequence_mean").tolist() == [2.0, 0.0, 2.0]
    assert reduce_sums(sums, tokens, "token_mean_batch").tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(ValueError, match="expected sequence_sum, sequence_mean or token_mean_batch"):
        reduce_sums(sums, tokens, "mean")  # pyright: ignore[reportArgumentType]


def test_a_sequence_without_tokens_adds_nothing_to_a_preference() -> None:
    margin = torch.tensor([0.5, 0.0], requires_grad=True)
    value = preference_loss(margin, torch.tensor([2, 0]), beta=0.1)
    assert value.item() == pytest.approx(20 * math.log(1 + math.exp(-0.05)), rel=1e-6)
    (slope,) = torch.autograd.grad(value, margin)
    assert slope[1].item() == 0.0


def test_a_pair_needs_the_same_rows() -> None:
    first, second = pack(model_logits(), LABELS), pack(model_logits()[:1], LABELS2[:1])
    with pytest.raises(ValueError, match="2 and 1 sequences"):
        pair_counts(first, second)
