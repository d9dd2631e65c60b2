"""Contract checks for wrappers that change gradients, as `method_checks`. They run on small made-up gradients."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, cast

import torch
from torch import Tensor

from unlearn_sweep.engine.contracts.failure import require
from unlearn_sweep.methods.catalog import build
from unlearn_sweep.methods.interface import Gradients, GradientWrapper, Probe

SHAPES = ((3, 4), (5,))
RANKS = 2
WAIT_S = 20.0


class _Meeting:
    """Where the ranks of a check, each a thread, add up what they have."""

    def __init__(self, ranks: int) -> None:
        self.barrier = Barrier(ranks, timeout=WAIT_S)
        self.values: dict[int, Tensor] = {}

    def sum(self, rank: int, values: Tensor) -> Tensor:
        self.values[rank] = values
        self.barrier.wait()
        total = torch.stack(list(self.values.values())).sum(0)
        self.barrier.wait()
        return total


class _Rank:
    """A `Probe` of one rank, without further gradients: what asks for one raises NotImplementedError."""

    realised_length = 0.0

    def __init__(self, rank: int, meeting: _Meeting) -> None:
        self.rank = rank
        self.meeting = meeting
        self.memory: dict[str, list[Tensor]] = {}

    def remembered(self, name: str) -> list[Tensor] | None:
        """Return what was kept under a name."""
        return self.memory.get(name)

    def remember(self, name: str, parts: list[Tensor]) -> None:
        """Keep tensors under a name."""
        self.memory[name] = parts

    def report(self, name: str, value: float) -> None:
        """Accept and discard a number."""

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks."""
        return self.meeting.sum(self.rank, values)

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)


def reshaping_keeps_shapes(name: str) -> None:
    """Check that gradient wrappers return finite gradients of the same shapes.

    The check ends at a wrapper that needs further gradients.
    """
    given = _gradients()
    for wrapper in _wrappers(name):
        (found,) = _on_ranks(wrapper, [given])
        if found is None:
            return
        given = found
        for part in (*given.forget, *given.retain):
            require(bool(torch.isfinite(part).all()), "a reshaped gradient is not finite")
        for group in (given.forget, given.retain):
            shapes = tuple(tuple(part.shape) for part in group)
            require(shapes == SHAPES, f"gradients of shapes {SHAPES} come back as {shapes}")


def parts_are_reshaped_as_the_whole(name: str) -> None:
    """Check that two ranks with parts of the gradients get the parts of what one rank with all of them gets.

    The check ends at a wrapper that needs further gradients.
    """
    given = _gradients()
    for wrapper in _wrappers(name):
        (whole,) = _on_ranks(wrapper, [given])
        parts = _on_ranks(wrapper, [_part(given, rank) for rank in range(RANKS)])
        if whole is None:
            return
        for rank, found in enumerate(parts):
            expected = _part(whole, rank)
            same = found is not None and all(
                torch.allclose(one, other, rtol=1e-5, atol=1e-6)
                for one, other in zip((*found.forget, *found.retain), (*expected.forget, *expected.retain), strict=True)
            )
            require(same, "parts of gradients are reshaped otherwise than whole ones: sum over entries by probe.total")
        given = whole


def _wrappers(name: str) -> Sequence[GradientWrapper]:
    return getattr(build(name, {}), "gradient_wrappers", ())


def _on_ranks(wrapper: GradientWrapper, given: Sequence[Gradients]) -> list[Gradients | None]:
    """Return what each rank gets; None where the wrapper needs further gradients."""
    meeting = _Meeting(len(given))

    def reshape(rank: int) -> Gradients | None:
        try:
            return wrapper.reshape(given[rank], cast("Probe", _Rank(rank, meeting)))
        except NotImplementedError:
            return None

    with ThreadPoolExecutor(len(given)) as pool:
        return list(pool.map(reshape, range(len(given))))


def _gradients() -> Gradients:
    generator = torch.Generator().manual_seed(0)
    forget, retain = ([torch.randn(shape, generator=generator) for shape in SHAPES] for _ in range(2))
    return Gradients(forget=forget, retain=retain)


def _part(gradients: Gradients, rank: int) -> Gradients:
    """Return a rank's part of each gradient, flat, with zeros behind it where the ranks do not divide the entries."""

    def own(tensor: Tensor) -> Tensor:
        length = -(-tensor.numel() // RANKS)
        flat = torch.nn.functional.pad(tensor.reshape(-1), (0, length * RANKS - tensor.numel()))
        return flat[rank * length : (rank + 1) * length]

    return Gradients(forget=[own(part) for part in gradients.forget], retain=[own(part) for part in gradients.retain])
