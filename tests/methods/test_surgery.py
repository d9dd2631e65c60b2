"""Gradient surgery: numbers worked by hand, the defining properties, and equality of sharded and whole results."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearn_sweep.methods.surgery import Rule, combine, inner_products, weights

FORGET = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
RETAIN = torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64)
RULES: list[Rule] = ["protect_retain", "symmetric", "normalised"]


def combined(forget: list[Tensor], retain: list[Tensor], rule: Rule) -> Tensor:
    """The result of one decision over all tensors, laid end to end."""
    return torch.cat(combine(forget, retain, weights(inner_products(forget, retain).sum(0), rule)))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # Protected forget gradient (1.6, -0.8, 0.5) plus the retain gradient.
        ("protect_retain", [2.1, 0.2, 0.5]),
        # The same plus the symmetric retain gradient (0.78571429, 0.42857143, 0.14285714).
        ("symmetric", [2.38571429, -0.37142857, 0.64285714]),
        ("normalised", [0.88364938, 0.02155563, 0.21821789]),
    ],
)
def test_by_hand(rule: Rule, expected: list[float]) -> None:
    assert inner_products([FORGET], [RETAIN])[0].tolist() == [-1.5, 5.25, 1.25]
    assert combined([FORGET], [RETAIN], rule).tolist() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("rule", ["protect_retain", "symmetric"])
def test_agreement_is_left_alone(rule: Rule) -> None:
    assert combined([FORGET], [-RETAIN], rule).tolist() == (FORGET - RETAIN).tolist()


def random_pair(seed: int) -> tuple[Tensor, Tensor]:
    forget, retain = torch.randn(2, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return forget, retain


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_protected_step_never_climbs_the_retain_loss(seed: int) -> None:
    # First-order change of the retain loss along the forget part: at least 0 inner product after projection.
    forget, retain = random_pair(seed)
    protected = combined([forget], [retain], "protect_retain") - retain
    assert protected @ retain >= -1e-12
    if forget @ retain < 0:
        assert (protected @ retain).abs() < 1e-12


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 11), rule=st.sampled_from(RULES))
def test_shards_combine_to_the_whole(seed: int, cut: int, rule: Rule) -> None:
    forget, retain = random_pair(seed)
    whole = combined([forget], [retain], rule)
    split = combined([forget[:cut], forget[cut:]], [retain[:cut], retain[cut:]], rule)
    torch.testing.assert_close(split, whole, rtol=1e-12, atol=1e-12)


def test_one_decision_a_tensor() -> None:
    # The first tensor is in conflict and projected, the second is not.
    forget, retain = [FORGET, FORGET], [RETAIN, -RETAIN]
    first, second = combine(forget, retain, weights(inner_products(forget, retain), "protect_retain"))
    assert first.tolist() == pytest.approx([2.1, 0.2, 0.5])
    assert second.tolist() == (FORGET - RETAIN).tolist()


@pytest.mark.parametrize("rule", RULES)
def test_a_zero_gradient_adds_nothing_and_no_nan(rule: Rule) -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    other = FORGET / FORGET.norm() if rule == "normalised" else FORGET
    torch.testing.assert_close(combined([FORGET], [zero], rule), other)
    torch.testing.assert_close(combined([zero], [FORGET], rule), other)
    assert combined([zero], [zero], rule).tolist() == [0.0, 0.0, 0.0]


def test_products_of_half_precision_gradients_are_wide() -> None:
    # 1e-4 squared is below the smallest fp16 number.
    small = torch.full((4,), 1e-4, dtype=torch.float16)
    assert inner_products([small], [small])[0, 1].item() == pytest.approx(4e-8, rel=1e-3)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="expected protect_retain, symmetric or normalised"):
        weights(torch.ones(3), "pcgrad")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="shorter"):
        inner_products([FORGET, FORGET], [RETAIN])
