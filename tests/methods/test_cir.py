"""What vectors have in common, against numpy's SVD and a loop over directions; and the wrapper's place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unlearn_sweep.methods.catalog import build, card
from unlearn_sweep.methods.cir import common_directions, without_common
from unlearn_sweep.methods.interface import Common


def drawn(count: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(3.0, 0.1, width)
    return torch.randn(count, width, generator=generator) * spread + torch.linspace(-1, 2, width)


def common_of(vectors: Tensor, number: int) -> Common:
    return common_directions(vectors.sum(0), vectors.T @ vectors, float(vectors.shape[0]), number)


def test_directions_are_the_mean_and_the_first_right_singular_vectors() -> None:
    vectors = drawn(200, 7)
    found = common_of(vectors, 4)
    mean = vectors.mean(0)
    torch.testing.assert_close(found.mean, mean / mean.norm(), rtol=1e-5, atol=1e-5)
    _, _, right = np.linalg.svd((vectors - mean).numpy(), full_matrices=False)
    overlap = found.components.numpy() @ right[:3].T
    np.testing.assert_allclose(np.abs(overlap), np.eye(3), atol=1e-3)


def test_they_are_taken_out_one_after_the_other() -> None:
    """Oracle: the released code's loop, each direction normalised and its part subtracted, the mean first."""
    vectors, others = drawn(60, 6), drawn(9, 6, seed=3)
    found = common_of(vectors, 3)
    expected = others.clone()
    for direction in (found.mean, *found.components):
        unit = direction / direction.norm()
        expected = expected - (expected * unit).sum(-1, keepdim=True) * unit
    torch.testing.assert_close(without_common(others, found), expected, rtol=1e-4, atol=1e-5)
    left = without_common(others, found) @ found.components.T
    assert left.abs().max() < 1e-5


def test_what_is_not_there_is_not_taken_out() -> None:
    same = torch.tensor([[1.0, 2.0, 2.0]]).repeat(5, 1)
    found = common_of(same, 3)
    assert found.components.shape == (0, 3)  # equal vectors vary in no direction
    assert without_common(same, found).abs().max() < 1e-6
    assert found.mean.tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    others = drawn(4, 3)
    for nothing in (common_of(same, 0), common_directions(torch.zeros(3), torch.zeros(3, 3), 0.0, 3)):
        assert torch.equal(without_common(others, nothing), others)


def test_number_counts_the_mean() -> None:
    assert common_of(drawn(50, 6), 1).components.shape == (0, 6)
    assert common_of(drawn(50, 6), 5).components.shape == (4, 6)
    assert common_of(drawn(50, 6), 99).components.shape == (6, 6)


@pytest.mark.parametrize("other", ["sam", "gnr", "cr", "rs", "tar", "lat", "gao"])
def test_wrappers_that_run_the_forget_rows_elsewhere_are_refused(other: str) -> None:
    with pytest.raises(ValueError, match=f"{other} runs the forget rows at other weights or states"):
        card(f"npo+cir+{other}")


def test_it_goes_with_what_works_on_gradients_and_weights() -> None:
    needs = build("rr+cir+mudman+weight_avg", {"cir_inputs": 3, "cir_gradients": 5, "cir_refresh": 0.2}).needs()
    assert needs.collapse is not None
    assert (needs.collapse.inputs, needs.collapse.gradients, needs.collapse.refresh) == (3, 5, 0.2)
    assert needs.gradients == "grouped"
    with pytest.raises(ValueError, match="not for one of its phases"):
        card("npo+cir>idk")
