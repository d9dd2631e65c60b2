"""Losses over hidden states. Oracles: the golden RMU values (published code run on the same tensors), and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.methods.golden import LABELS, golden_step, hidden_states, terms_by_name
from unlearn_sweep.methods.catalog import build
from unlearn_sweep.methods.hidden_losses import (
    aligned_part,
    distance,
    layer_at,
    mean_squared_distance,
    random_direction,
)
from unlearn_sweep.methods.interface import Supervised
from unlearn_sweep.methods.rad import ablated, added
from unlearn_sweep.methods.retain import RETAIN_TERMS
from unlearn_sweep.methods.rmu import RMU, HiddenReduction, steering_term
from unlearn_sweep.methods.rr import RR
from unlearn_sweep.methods.shared_params import RETAIN_TERMS as NAMED_TERMS


def batch_of(mask: Tensor) -> tuple[Supervised, Tensor]:
    """The golden states at the places of a mask [B, T], and their squared distance to all ones."""
    states = hidden_states()[mask]
    rows = torch.arange(2)[:, None].expand_as(mask)[mask]
    nothing = torch.zeros(len(states), 0)
    return Supervised(nothing, rows, rows, 2, {0: states}), mean_squared_distance(states, torch.ones(4))


@pytest.mark.parametrize(
    ("reduction", "everywhere", "expected"),
    [
        ("sequence_mean", False, 0.98004131),
        ("mean_of_sums", False, 1.00597767),  # what open-unlearning's code gives
        ("token_mean", True, 0.81362034),  # what the original WMDP code gives: padding and prompt included
    ],
)
def test_golden_rmu(reduction: HiddenReduction, everywhere: bool, expected: float) -> None:
    batch, values = batch_of(torch.ones(2, 6, dtype=torch.bool) if everywhere else LABELS != -100)
    term = steering_term(batch, values, reduction, 1.0)
    count = batch.sequences if term.per == "sequence" else len(values)
    assert float(term.total / count) == pytest.approx(expected, rel=5e-7)  # published through fp32


def test_aligned_part_by_hand() -> None:
    reference = torch.tensor([[0.6, 0.8]] * 2, dtype=torch.float64)
    states = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    values = aligned_part(states, reference)
    assert values.tolist() == pytest.approx([0.6, 0.0])
    (slope,) = torch.autograd.grad(values.sum(), states)
    assert slope[1].tolist() == [0.0, 0.0]
    assert slope[0].abs().max() > 0


def test_distance_is_the_length_and_flat_at_zero() -> None:
    target = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0], [3.0, 4.0, 0.0]])
    states = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [3.0, 4.0, 0.0]]).requires_grad_()
    values = distance(states, target)
    assert values.tolist() == [0.0, pytest.approx(5.0, rel=2e-3), 0.0]
    (slope,) = torch.autograd.grad(values.sum(), states)
    assert slope.tolist() == [[0.0, 0.0, 0.0], pytest.approx([0.0, -0.6, -0.8], rel=1e-5), [0.0, 0.0, 0.0]]
    noise = states.detach() + torch.tensor([0.0, 0.0, 5e-7])
    (slope,) = torch.autograd.grad(distance(noise.requires_grad_(), target).sum(), noise)
    assert slope[2].norm() < 1e-3


def test_targets_of_rad_and_rab() -> None:
    direction, states = torch.tensor([0.0, 1.0]), torch.tensor([[2.0, 3.0]])
    assert added(states, direction, 4.0).tolist() == [[2.0, 7.0]]
    assert ablated(states, direction, 1.0).tolist() == [[2.0, 0.0]]
    assert ablated(states, direction, 2.0).tolist() == [[2.0, -3.0]]


def test_the_direction_is_published_and_reproducible() -> None:
    first, second = (random_direction(64, torch.Generator().manual_seed(5)) for _ in range(2))
    assert first.equal(second)
    assert float(first.norm()) == pytest.approx(1.0)
    assert (first >= 0).all()
    method, steps = RMU(), [golden_step(index=index) for index in (0, 7)]
    assert len({float(method.terms(step)[0].total) for step in steps}) == 1


@pytest.mark.parametrize(("share", "depth", "layer"), [(0.25, 32, 7), (1.0, 32, 31), (0.01, 4, 0), (0.34, 32, 10)])
def test_layer_at(share: float, depth: int, layer: int) -> None:
    assert layer_at(share, depth) == layer


def test_rr_moves_from_forgetting_to_retaining() -> None:
    weights = []
    for progress in (0.0, 0.5, 1.0):
        step = golden_step(progress=progress, wanted="all")
        weights.append([term.weight for term in RR(strength=10.0).terms(step)])
    assert weights == [[10.0, 0.0], [7.5, 2.5], [5.0, 5.0]]


def test_rr_averages_over_its_layers() -> None:
    """Oracle: the mean over tokens and layers of relu(cos) as the released code takes it, at weights away from 1."""
    step = golden_step(progress=0.0, wanted="all")
    method = RR(lower_layer=0.34, upper_layer=1.0)
    term = method.terms(step)[0]
    now, before = step.batches["forget"].hidden, step.references["forget"].hidden
    used = [layer for layer in now if layer in {layer_at(0.34, len(now)), layer_at(1.0, len(now))}]
    assert len(used) == 2
    cosines = [torch.cosine_similarity(now[layer], before[layer], dim=-1).clamp(min=0) for layer in used]
    count = len(now[used[0]])
    assert float(term.total / count) == pytest.approx(float(torch.stack(cosines).mean()), abs=0.02)


def test_hidden_retain_by_hand() -> None:
    step = golden_step()
    now, before = step.batches["retain"].hidden[0], step.references["retain"].hidden[0]
    expected = (now - before).square().mean()
    value = terms_by_name(build("graddiff", {"retain": "embed_mse"}), step)["retain"]
    torch.testing.assert_close(value, expected)
    step.wanted = "all"
    lengths = [(step.batches["retain"].hidden[k] - step.references["retain"].hidden[k]).norm(dim=-1) for k in range(3)]
    value = terms_by_name(build("graddiff", {"retain": "hidden_l2"}), step)["retain"]
    torch.testing.assert_close(value, torch.stack(lengths).mean(), rtol=2e-3, atol=0)


def test_both_lists_of_retain_terms_are_one() -> None:
    assert RETAIN_TERMS == NAMED_TERMS


def test_a_forward_that_stops_at_the_layer_is_declared() -> None:
    assert not RMU().needs().logits
    assert RMU(retain="nll").needs().logits
    assert RMU(retain="kl").needs().reference == "logits"
    assert RMU(retain="none").needs().reference == "none"
