"""Batches as the unit of work on a model: each is computed by itself, on the model or on a copy of it elsewhere.

Batches are made in one place from all rows, and their results are put together in that place in the order of the
batches. Who computes a batch, and when, therefore changes no number: with any number of copies of a model on devices
of one kind, results are equal to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakKeyDictionary

from unlearn_sweep.evaluators.inference import measuring

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class ModelBatch(Protocol[Result_co]):
    """Rows that a model computes at once, and how. It can be pickled, and so can its result, which has no tensors."""

    @property
    def size(self) -> int:
        """Return about how much there is to compute, to begin with the largest batch: rows times tokens."""
        ...

    def run(self, model: PreTrainedModel) -> Result_co:
        """Compute the batch. The model is in evaluation mode and makes no gradients unless the batch asks for them."""
        ...


class Copies(Protocol):
    """Copies of one model on other devices, each in a process of its own."""

    def run(self, model: PreTrainedModel, batches: Sequence[ModelBatch[Result]]) -> list[Result]:
        """Return the results in the order of the batches. `model` computes some of them in this process."""
        ...


_COPIES: WeakKeyDictionary[nn.Module, tuple[Copies, State]] = WeakKeyDictionary()
State = tuple[tuple[int, int, int], ...]


@contextmanager
def copied(model: PreTrainedModel, copies: Copies) -> Iterator[None]:
    """Let `copies` compute batches of `model` within the block, as long as the model is what it is now."""
    before = _COPIES.get(model)
    _COPIES[model] = (copies, _state(model))
    try:
        yield
    finally:
        if before is None:
            del _COPIES[model]
        else:
            _COPIES[model] = before


def run_batches(model: PreTrainedModel, batches: Sequence[ModelBatch[Result]]) -> list[Result]:
    """Return the result of each batch, in their order: from the model, and from its copies where it has any.

    A model that got a hook, or whose weights were changed in place, since its copies were made computes all batches.
    """
    with measuring(model):
        found = _COPIES.get(model)
        if found is None or len(batches) < 2 or found[1] != _state(model):
            return [batch.run(model) for batch in batches]
        return found[0].run(model, batches)


def _state(model: nn.Module) -> State:
    """Return what changes with a hook, with other weights, and with a change of weights in place."""
    weights = [(id(weight), weight.data_ptr(), weight._version) for weight in model.parameters()]
    hooks = [(id(part), len(part._forward_hooks), len(part._forward_pre_hooks)) for part in model.modules()]
    return (*weights, *hooks)
