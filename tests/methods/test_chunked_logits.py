"""Losses over logits that are never whole. Oracles: the same loss over the whole logits, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.methods.golden import golden_step, loss
from unlearn_sweep.methods import row_chunks
from unlearn_sweep.methods.catalog import METHODS, WRAPPERS, build
from unlearn_sweep.methods.ceu import cross_entropy_unlearning
from unlearn_sweep.methods.chunked_logits import ChunkedLogits, row_wise
from unlearn_sweep.methods.irm import scale_gradient
from unlearn_sweep.methods.pdu import logit_margin
from unlearn_sweep.methods.row_chunks import Head, in_chunks
from unlearn_sweep.methods.token_losses import (
    first_choice,
    jensen_shannon,
    kl_from_reference,
    kl_from_uniform,
    negative_entropy,
    negative_log_one_minus_p,
    soft_cross_entropy,
    token_nll,
)
from unlearn_sweep.methods.undial import undial_loss

V, D = 107, 4  # `undial` as published lowers entry V - 100


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_chunks, "CHUNK_ENTRIES", 3 * V)


def states(seed: int, *lead: int) -> Tensor:
    return torch.randn(*lead, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def capped(logits: Tensor) -> Tensor:
    return 2 * torch.tanh(0.7 * logits / 2)


def head(seed: int = 1, *, bias: bool = True) -> Head:
    draw = torch.Generator().manual_seed(seed)
    return Head(
        weight=torch.randn(V, D, dtype=torch.float64, generator=draw),
        bias=torch.randn(V, dtype=torch.float64, generator=draw) if bias else None,
        entries=V,
        finish=capped,
    )


def whole(hidden: Tensor, own: Head) -> Tensor:
    return own.finished(F.linear(hidden, own.weight, own.bias))


def with_compat() -> list[tuple[str, dict[str, Any]]]:
    """Every method at its defaults, with a KL and a JSD retain term, and as each project publishes it."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, entry in METHODS.items():
        params = {param.name: param for param in entry.params}
        found.append((name, {}))
        if "retain" in params:
            found += [(name, {"retain": kind}) for kind in ("kl", "jsd") if kind in (params["retain"].choices or ())]
        if "compat" in params:
            found += [(name, {"compat": project}) for project in (params["compat"].choices or ())[1:]]
    return found


CASES = with_compat()


@pytest.mark.parametrize(("name", "params"), CASES, ids=[f"{name} {params or ''}" for name, params in CASES])
def test_every_method_gives_value_and_gradient_of_whole_logits(name: str, params: dict[str, Any]) -> None:
    method = build(name, params)
    found = []
    for make in (whole, ChunkedLogits.of):
        now, before = states(2, 2, 6).requires_grad_(), states(3, 2, 6)
        own, frozen = head(4), head(5)
        leaves = [now, *(parameter.requires_grad_() for parameter in own.parameters)]
        step = golden_step(make(now, own), make(before, frozen))
        value = loss(method, step)
        found.append((value.detach(), torch.autograd.grad(value, leaves, allow_unused=True)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)


ROW_WISE: dict[str, Callable[..., Tensor]] = {
    "nll": lambda z, r, t: token_nll(z, t),
    "-log(1 - p)": lambda z, r, t: negative_log_one_minus_p(z, t),
    "kl": lambda z, r, t: kl_from_reference(r, z),
    "kl the other way": lambda z, r, t: kl_from_reference(z, r),
    "jsd": lambda z, r, t: jensen_shannon(r, z),
    "uniform": lambda z, r, t: kl_from_uniform(z),
    "entropy": lambda z, r, t: negative_entropy(z),
    "margin": lambda z, r, t: logit_margin(z),
    "scale": lambda z, r, t: scale_gradient(z, t),
    "soft": lambda z, r, t: soft_cross_entropy((r + 0).softmax(-1), z),
    "undial": lambda z, r, t: undial_loss(r, z, t, beta=3.0),
    "all entries": lambda z, r, t: z.softmax(-1),
}


@pytest.mark.parametrize("kind", ROW_WISE)
def test_finite_differences(kind: str) -> None:
    targets, own, frozen = torch.arange(7) * 5, head(1), head(2)

    def values(now: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        changed = Head(weight=weight, bias=bias, entries=V, finish=capped)
        reference = ChunkedLogits.of(states(9, 7), frozen, graph=False)
        return ROW_WISE[kind](ChunkedLogits.of(now, changed), reference, targets)

    leaves = (states(1, 7).requires_grad_(), *(part.requires_grad_() for part in own.parameters))
    assert torch.autograd.gradcheck(values, leaves, fast_mode=True)


def test_a_held_part_has_no_gradient() -> None:
    """CE-U's weights are constant in the gradient; the recomputation must not differentiate them."""
    now, own, targets = states(1, 8).requires_grad_(), head(), torch.arange(8)
    found = [
        torch.autograd.grad(cross_entropy_unlearning(make(now, own), targets).sum(), now)[0]
        for make in (whole, ChunkedLogits.of)
    ]
    torch.testing.assert_close(found[0], found[1])


def test_rows_are_taken_without_computing_any(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, mask = ChunkedLogits.of(states(1, 2, 6), head()), torch.rand(2, 5) > 0.4
    monkeypatch.setattr(ChunkedLogits, "whole", None)
    taken = logits[:, :-1][mask]
    assert isinstance(taken, ChunkedLogits)
    assert (taken.shape, taken.dtype, taken.device.type) == ((int(mask.sum()), V), torch.float64, "cpu")
    parts = taken.detach().split([1, len(taken) - 1])
    assert [tuple(part.shape) for part in parts] == [(1, V), (len(taken) - 1, V)]
    assert all(isinstance(part, ChunkedLogits) and not part.requires_grad for part in parts)
    assert logits.reshape(3, 4, V).shape == (3, 4, V)


def test_everything_else_computes_all_entries() -> None:
    hidden, own = states(1, 5), head()
    logits, expected = ChunkedLogits.of(hidden, own), whole(hidden, own)
    for found, wanted in (
        (logits + 1, expected + 1),
        (2 - logits, 2 - expected),
        (logits[0], expected[0]),
        (logits[:, 3], expected[:, 3]),
        (logits[..., :2], expected[..., :2]),
        (logits.argmax(-1), expected.argmax(-1)),
        (torch.cat([logits, logits]), torch.cat([expected, expected])),
        (F.cross_entropy(logits, torch.arange(5)), F.cross_entropy(expected, torch.arange(5))),
    ):
        assert type(found) is Tensor
        torch.testing.assert_close(found, wanted)
    assert first_choice(logits).equal(expected.argmax(-1))


def test_no_tokens_are_a_zero_with_a_gradient() -> None:
    now, own = states(1, 0).requires_grad_(), head()
    leaves = [now, own.weight.requires_grad_()]
    value = token_nll(ChunkedLogits.of(now, own), torch.empty(0, dtype=torch.long)).sum()
    assert value.item() == 0
    assert [float(gradient.sum()) for gradient in torch.autograd.grad(value, leaves)] == [0, 0]


def test_a_chunk_is_all_that_a_function_sees() -> None:
    seen = []

    @row_wise
    def watched(logits: Tensor, targets: Tensor) -> Tensor:
        seen.append(tuple(logits.shape))
        return token_nll(logits, targets)

    now = states(1, 8).requires_grad_()
    watched(ChunkedLogits.of(now, head()), torch.arange(8)).sum().backward()
    assert seen == [(3, V), (3, V), (2, V)] * 2


def test_the_heads_gradient_in_bfloat16_is_added_up_in_float32() -> None:
    """Oracle: one chunk. Sums of 400 bfloat16 terms would lose all but two digits."""
    weight = torch.randn(V, D, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    now = torch.randn(400, D, generator=torch.Generator().manual_seed(1)).bfloat16()

    def gradient() -> Tensor:
        logits = ChunkedLogits.of(now, Head(weight=weight, entries=V))
        return torch.autograd.grad(token_nll(logits, torch.arange(400) % V).sum(), weight)[0].float()

    few = gradient()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_chunks, "CHUNK_ENTRIES", 10**6)
        once = gradient()
    assert float((few - once).norm() / once.norm()) < 4e-3  # bfloat16 itself rounds by 2e-3


def test_a_weight_that_was_written_to_is_refused() -> None:
    now, own = states(1, 4).requires_grad_(), head()
    own.weight.requires_grad_()
    value = token_nll(ChunkedLogits.of(now, own), torch.arange(4)).sum()
    with torch.no_grad():
        own.weight.add_(1)
    with pytest.raises(RuntimeError, match="written to"):
        value.backward()


def test_logits_of_different_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="of one shape"):
        kl_from_reference(ChunkedLogits.of(states(1, 4), head()), ChunkedLogits.of(states(1, 5), head()))
    with pytest.raises(ValueError, match="there must be some"):
        in_chunks(token_nll, [torch.zeros(2, 3)])


def test_wrappers_add_no_loss_of_their_own_but_irm() -> None:
    """`irm` is in the table of finite differences; a new wrapper with terms over logits belongs there too."""
    assert {name for name, entry in WRAPPERS.items() if hasattr(entry.load(), "terms")} == {"irm"}
