"""Logits that are never held whole: hidden states and the head, from which a loss computes a few rows at a time.

With V vocabulary entries, logits [N, V] and what a loss makes of them take most of a training's memory once V is
large. `ChunkedLogits` stands for such a tensor: it has its shape and takes [N, D]. A function marked `row_wise` - one
value for each token, from that token's logits only - computes chunks of rows (`row_chunks`). Anything else that is done
with `ChunkedLogits` computes the whole [N, V], with its gradient: correct, at the price of its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from unlearn_sweep.methods.row_chunks import Head, States, in_chunks, unchanged

Inputs = ParamSpec("Inputs")


class ChunkedLogits(Tensor):
    """Stands for the logits [..., V] of hidden states [..., D].

    Rows can be taken (`[...]`, `split`, `reshape` that keeps V), and `detach` gives one without a gradient. It has no
    entries of its own: `whole()` computes them, as does every operation that is not `row_wise`.
    """

    hidden: Tensor
    head: Head
    graph: bool

    @staticmethod
    def of(hidden: Tensor, head: Head, *, graph: bool | None = None) -> ChunkedLogits:
        """Make one. `graph`: whether it has a gradient; None: if gradients are computed where this is called."""
        dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        shape = (*hidden.shape[:-1], head.entries)
        made = torch.empty(shape, dtype=dtype, device="meta").as_subclass(ChunkedLogits)
        made.hidden, made.head = hidden, head
        made.graph = torch.is_grad_enabled() if graph is None else graph
        return made

    def whole(self) -> Tensor:
        """All logits [..., V], with their gradient."""
        return by_rows(unchanged, (self,))

    def of_rows(self, hidden: Tensor) -> ChunkedLogits:
        """The same head and kind of gradient over other states."""
        return ChunkedLogits.of(hidden, self.head, graph=self.graph)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in _OF_THE_SHAPE:
            return super().__torch_function__(func, types, args, options)
        known = _KNOWN.get(func)
        if known is not None and isinstance(args[0], ChunkedLogits):
            found = known(*args, **options)
            if found is not None:
                return found
        plain, named = tree_map_only(ChunkedLogits, ChunkedLogits.whole, (args, options))
        return func(*plain, **named)


def _rows(logits: ChunkedLogits, index: Any) -> ChunkedLogits | None:
    """`logits[index]` where the index chooses rows; None where it reaches into the vocabulary."""
    places = index if isinstance(index, tuple) else (index,)
    used = sum(place.dim() if isinstance(place, Tensor) and place.dtype == torch.bool else 1 for place in places)
    plain = all(isinstance(place, slice | Tensor | list) for place in places)
    if not plain or used > logits.hidden.dim() - 1:
        return None
    return logits.of_rows(logits.hidden[index])


def _split(logits: ChunkedLogits, sizes: Any, dim: int = 0) -> tuple[ChunkedLogits, ...] | None:
    if dim != 0:
        return None
    return tuple(logits.of_rows(part) for part in logits.hidden.split(sizes))


def _reshaped(logits: ChunkedLogits, *shape: Any) -> ChunkedLogits | None:
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if sizes[-1] != logits.head.entries or -1 in sizes:
        return None
    return logits.of_rows(logits.hidden.reshape(*sizes[:-1], logits.hidden.shape[-1]))


def _detached(logits: ChunkedLogits) -> ChunkedLogits:
    return ChunkedLogits.of(logits.hidden.detach(), logits.head, graph=False)


def _in_float32(logits: ChunkedLogits) -> ChunkedLogits | None:
    return logits if logits.dtype == torch.float32 else None


def _device(logits: ChunkedLogits) -> torch.device:
    return logits.hidden.device


def _requires_grad(logits: ChunkedLogits) -> bool:
    return logits.graph and any(part.requires_grad for part in (logits.hidden, *logits.head.parameters))


def _getter(name: str) -> Any:
    return getattr(Tensor, name).__get__


_OF_THE_SHAPE = {
    *map(_getter, ("shape", "dtype", "ndim", "layout")),
    Tensor.size,
    Tensor.dim,
    Tensor.numel,
    Tensor.__len__,
    Tensor.is_floating_point,
}
_KNOWN: dict[Any, Callable[..., Any]] = {
    Tensor.__getitem__: _rows,
    Tensor.split: _split,
    Tensor.reshape: _reshaped,
    Tensor.detach: _detached,
    Tensor.float: _in_float32,
    _getter("device"): _device,
    _getter("requires_grad"): _requires_grad,
}


def row_wise(function: Callable[Inputs, Tensor]) -> Callable[Inputs, Tensor]:
    """Mark a function that computes each row of its result [N, ...] from the same row of its arguments.

    Its positional tensors have a row for each token: logits [N, V], targets [N], numbers [N]; tensors of another length
    and options by name are the same for all rows. With `ChunkedLogits` among them it is computed in chunks of rows.
    """

    @wraps(function)
    def call(*args: Inputs.args, **options: Inputs.kwargs) -> Tensor:
        if not any(isinstance(value, ChunkedLogits) for value in args):
            return function(*args, **options)
        return by_rows(partial(function, **options), args)

    return call


def by_rows(function: Callable[..., Tensor], args: Sequence[Any]) -> Tensor:
    """`function(*args)` in chunks of the rows of the `ChunkedLogits` among `args`, with its gradient."""
    return in_chunks(
        function,
        [
            States(value.hidden, value.head, value.graph) if isinstance(value, ChunkedLogits) else value
            for value in args
        ],
    )
