"""Functions of logits that are computed a few rows at a time, with their gradient, from hidden states and a head.

`in_chunks` computes values for N rows in chunks, and computes each chunk again in its backward pass, so that at most
CHUNK_ENTRIES entries of one tensor over the vocabulary exist at a time. The head's gradient is added up in float32 or
float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from unlearn_sweep.methods.logit_sizes import CHUNK_ENTRIES

Finish = Callable[[Tensor], Tensor]
"""What a model does to its head's output: scaling, soft capping; entry by entry."""


def unchanged(logits: Tensor) -> Tensor:
    """The output of a head that nothing follows."""
    return logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A linear head: logits = finish(hidden @ weight.T + bias), in float32, or float64 where the states are float64.

    Attributes:
        weight: [V, D]; also of a head that shares it with the input embedding.
        bias: [V]; None: there is none.
        finish: What follows the matrix product.
        dtype: Number format of the matrix product; None: that of the weight.
        entries: V, also while the weight is sharded.
        whole: A context in which `weight` and `bias` are whole. Every rank enters it the same number of times.
        fetch: Makes them whole for a backward pass, which frees them at its end.
    """

    weight: Tensor
    entries: int
    bias: Tensor | None = None
    finish: Finish = unchanged
    dtype: torch.dtype | None = None
    whole: Callable[[], AbstractContextManager[object]] = nullcontext
    fetch: Callable[[], object] = bool

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Weight, and bias if there is one."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def finished(self, product: Tensor) -> Tensor:
        """The logits [n, V] from a matrix product [n, V], in float32 or float64."""
        return self.finish(product if product.dtype == torch.float64 else product.float())


@dataclass(frozen=True, slots=True)
class States:
    """Hidden states [..., D] in the place of their logits [..., V]; `graph`: whether these have a gradient."""

    hidden: Tensor
    head: Head
    graph: bool


def in_chunks(function: Callable[..., Tensor], args: Sequence[Any]) -> Tensor:
    """`function(*args)`, with logits in the place of `States`, in chunks of their rows.

    Raises:
        ValueError: there are no `States`, or their rows differ in number.
    """
    states = [value for value in args if isinstance(value, States)]
    leads = {value.hidden.shape[:-1] for value in states}
    if len(leads) != 1:
        raise ValueError(f"logits of {sorted(map(tuple, leads))} rows; there must be some, and of one shape")
    call = _Call(function, args, lead := leads.pop())
    with _all_whole({id(value.head): value.head for value in states}.values()):
        values = cast("Tensor", _ByRows.apply(call, *call.tensors))
    return values.reshape(*lead, *values.shape[1:])


def _all_whole(heads: Iterable[Head]) -> AbstractContextManager[object]:
    stack = ExitStack()
    for head in heads:
        stack.enter_context(head.whole())
    return stack


@dataclass(frozen=True, slots=True)
class _Slot:
    """One positional argument: logits of head number `head`, rows of tensor number `tensor`, or a constant."""

    head: Head | None = None
    tensor: int | None = None
    constant: Any = None
    graph: bool = False


class _Call:
    """A function, its arguments as flat tensors for autograd, and how to put them together for a chunk of rows."""

    def __init__(self, function: Callable[..., Tensor], args: Sequence[Any], lead: torch.Size) -> None:
        self.function = function
        self.slots: list[_Slot] = []
        self.tensors: list[Tensor] = []
        self.heads: list[Head] = []
        for value in args:
            self.slots.append(self._slot(value, lead))
        self.states = len(self.tensors)
        for slot in self.slots:
            if slot.head is not None and slot.graph and not any(slot.head is head for head in self.heads):
                self.heads.append(slot.head)
                self.tensors.extend(slot.head.parameters)
        others = (slot.head for slot in self.slots if slot.head is not None and not slot.graph)
        trained = {id(head) for head in self.heads}
        self.fixed = {id(head): head for head in others if id(head) not in trained}
        entries = sum(slot.head.entries for slot in self.slots if slot.head is not None)
        self.size = max(1, CHUNK_ENTRIES // max(1, entries))
        self.rows = lead.numel()

    def _slot(self, value: Any, lead: torch.Size) -> _Slot:
        if isinstance(value, States):
            states = value.hidden if value.graph else value.hidden.detach()
            self.tensors.append(states.flatten(0, -2) if states.dim() != 2 else states)
            return _Slot(head=value.head, tensor=len(self.tensors) - 1, graph=value.graph)
        if isinstance(value, Tensor) and value.shape[: len(lead)] == lead:
            self.tensors.append(value.reshape(lead.numel(), *value.shape[len(lead) :]))
            return _Slot(tensor=len(self.tensors) - 1)
        return _Slot(constant=value)

    def chunks(self) -> Iterator[slice]:
        """Rows, a chunk at a time; one empty chunk where there are none."""
        return (slice(first, first + self.size) for first in range(0, max(1, self.rows), self.size))

    def values(self, rows: slice, tensors: Sequence[Tensor], weights: _Weights) -> Tensor:
        """The function's values for a chunk."""
        return self.function(*(self._argument(slot, rows, tensors, weights) for slot in self.slots))

    @staticmethod
    def _argument(slot: _Slot, rows: slice, tensors: Sequence[Tensor], weights: _Weights) -> Any:
        if slot.tensor is None:
            return slot.constant
        part = tensors[slot.tensor][rows]
        return part if slot.head is None else slot.head.finished(weights.product(slot.head, part))


class _Weights:
    """The heads' weights in the number format of their products, converted once for all chunks."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[Tensor, Tensor | None]] = {}

    def of(self, head: Head) -> tuple[Tensor, Tensor | None]:
        if id(head) not in self._of:
            dtype = head.dtype or head.weight.dtype
            bias = None if head.bias is None else head.bias.detach().to(dtype)
            self._of[id(head)] = (head.weight.detach().to(dtype), bias)
        return self._of[id(head)]

    def product(self, head: Head, hidden: Tensor) -> Tensor:
        weight, bias = self.of(head)
        return F.linear(hidden.to(weight.dtype), weight, bias)


class _ByRows(torch.autograd.Function):
    """The values of a `_Call`, and their gradient with respect to its tensors, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Tensor) -> Tensor:
        weights = _Weights()
        parts = [call.values(rows, tensors, weights) for rows in call.chunks()]
        values = torch.cat(parts) if len(parts) > 1 else parts[0]
        ctx.call, ctx.versions = call, _versions(call)
        ctx.save_for_backward(*tensors[: call.states])
        if not values.is_floating_point():
            ctx.mark_non_differentiable(values)
        return values

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] -- the decorator changes no argument
        ctx: Any, *outer: Tensor
    ) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        for head in call.heads:
            head.fetch()
        if _versions(call) != ctx.versions:
            raise RuntimeError("the head's weight was written to between a loss and its backward pass")
        total = _Gradients(call, ctx.saved_tensors, ctx.needs_input_grad[1:])
        with _all_whole(call.fixed.values()):
            for rows in call.chunks():
                total.add(rows, outer[0][rows])
        return (None, *total.in_order())


def _versions(call: _Call) -> list[int]:
    return [parameter._version for head in call.heads for parameter in head.parameters]


class _Gradients:
    """Sums of gradients over the chunks of a call: of its states and rows, and of its heads' weights."""

    def __init__(self, call: _Call, tensors: Sequence[Tensor], needed: Sequence[bool]) -> None:
        self.call, self.tensors, self.weights = call, tensors, _Weights()
        self.found: list[Tensor | None] = [
            torch.zeros_like(tensor) if wanted else None for tensor, wanted in zip(tensors, needed, strict=False)
        ]
        wanted = iter(needed[call.states :])
        self.heads = {
            id(head): [_zeros(parameter) if next(wanted) else None for parameter in head.parameters]
            for head in call.heads
        }

    def add(self, rows: slice, outer: Tensor) -> None:
        """Compute a chunk again, and add its gradient."""
        leaves = [self._leaf(slot, rows) for slot in self.call.slots]
        with torch.enable_grad():
            values = self.call.function(*map(_argument, self.call.slots, leaves))
        if not values.requires_grad:
            return
        wanted = {place: leaf for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad}
        found = torch.autograd.grad(values, tuple(wanted.values()), outer, allow_unused=True)
        for place, gradient in zip(wanted, found, strict=True):
            if gradient is not None:
                self._keep(self.call.slots[place], rows, gradient)

    def in_order(self) -> list[Tensor | None]:
        """The gradients in the order of the call's tensors."""
        of_heads = [
            None if gradient is None else gradient.to(parameter.dtype)
            for head in self.call.heads
            for gradient, parameter in zip(self.heads[id(head)], head.parameters, strict=True)
        ]
        return [*self.found, *of_heads]

    def _leaf(self, slot: _Slot, rows: slice) -> Any:
        """The chunk's matrix product or rows, as a leaf that has a gradient if one is wanted; or the constant."""
        if slot.tensor is None:
            return slot.constant
        part = self.tensors[slot.tensor][rows].detach()
        if slot.head is None:
            return part.requires_grad_(self.found[slot.tensor] is not None)
        return self.weights.product(slot.head, part).requires_grad_(slot.graph)

    def _keep(self, slot: _Slot, rows: slice, gradient: Tensor) -> None:
        total = None if slot.tensor is None else self.found[slot.tensor]
        if slot.head is None or slot.tensor is None:
            if total is not None:
                total[rows] = gradient
            return
        weight, _ = self.weights.of(slot.head)
        if total is not None:
            total[rows] = gradient @ weight
        weights, *bias = self.heads[id(slot.head)]
        if weights is not None:
            states = self.tensors[slot.tensor][rows].to(gradient.dtype)
            if weights.dtype == gradient.dtype:
                weights.addmm_(gradient.T, states)
            else:
                weights.add_(gradient.T @ states)
        for own in bias:
            if own is not None:
                own.add_(gradient.sum(0))


def _zeros(parameter: Tensor) -> Tensor:
    dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
    return torch.zeros(parameter.shape, dtype=dtype, device=parameter.device)


def _argument(slot: _Slot, leaf: Any) -> Any:
    return leaf if slot.head is None else slot.head.finished(leaf)
