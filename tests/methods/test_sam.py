"""SAM's perturbation: a quadratic worked by hand, its norm, shards, and what bf16 does to it."""

from __future__ import annotations

import pytest
import torch

from unlearn_sweep.methods.moved_weights import perturbed, realised_squared, squared_norm
from unlearn_sweep.methods.sam import perturbation, realised_fraction


def test_quadratic_by_hand() -> None:
    # f = (3 x^2 + y^2) / 2 at (1, 2), rho = 0.1: g = (3, 2), and the gradient at the moved point is (3 x', y').
    theta = torch.tensor([1.0, 2.0], dtype=torch.float64)
    curvature = torch.tensor([3.0, 1.0], dtype=torch.float64)
    gradient = [curvature * theta]
    (epsilon,) = perturbation(gradient, 0.1, squared_norm(gradient))
    assert epsilon.tolist() == pytest.approx([0.08320503, 0.05547002], abs=1e-8)
    (moved,) = perturbed([theta], [epsilon])
    assert (curvature * moved).tolist() == pytest.approx([3.24961509, 2.05547002], abs=1e-8)


def test_norm_is_over_all_tensors_and_shards() -> None:
    gradients = list(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)))
    shards = [half for gradient in gradients for half in gradient.split(5)]
    whole = perturbation(gradients, 0.05, squared_norm(gradients))
    assert squared_norm(whole).sqrt().item() == pytest.approx(0.05, rel=1e-5)
    torch.testing.assert_close(torch.cat(perturbation(shards, 0.05, squared_norm(shards))), torch.cat(whole))


def test_no_gradient_and_no_radius_do_not_move() -> None:
    zero, one = [torch.zeros(3)], [torch.ones(3)]
    assert perturbation(zero, 0.1, squared_norm(zero))[0].tolist() == [0.0, 0.0, 0.0]
    assert perturbation(one, 0.0, squared_norm(one))[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("dtype", "low", "high"), [(torch.float32, 0.95, 1.05), (torch.bfloat16, 0.0, 0.0)])
def test_bf16_swallows_a_small_perturbation(dtype: torch.dtype, low: float, high: float) -> None:
    # Weights near 0.02 are 1.2e-4 apart in bf16; this epsilon is 1e-6 an entry.
    weights = [torch.full((10_000,), 0.02, dtype=dtype)]
    gradients = [torch.ones(10_000)]
    rho = 1e-4
    moved = perturbed(weights, perturbation(gradients, rho, squared_norm(gradients)))
    assert moved[0].dtype == dtype
    assert low <= realised_fraction(float(realised_squared(weights, moved).sqrt()), rho) <= high


def test_fraction_of_no_radius_is_refused() -> None:
    with pytest.raises(ValueError, match="rho must be > 0"):
        realised_fraction(0.0, 0.0)
