"""The interface between the training loop and a step backend. A backend runs forward, backward and step.

    torch      one process, or DistributedDataParallel if there are several
    deepspeed  a raw DeepSpeed engine, ZeRO stage 0 to 3

Both keep float32 weights in the optimizer, average gradients over ranks, and take the learning rate of each step from
the loop, so they produce the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from unlearn_sweep.engine.training.forward import Outputs, Packed


class StepBackend(Protocol):
    """Call order: forward and backward inside `micro_batch`, then `step`; `finish` at the end; `close` in any case."""

    def micro_batch(self, *, last: bool) -> AbstractContextManager[object]:
        """Wrap forward and backward of one micro-batch. Ranks exchange gradients in the `last` one of a step."""
        ...

    def forward(self, packed: Packed) -> Outputs:
        """Return logits [N, V] and hidden states [N, D] in float32, with their autograd graph."""
        ...

    def look(self, packed: Packed) -> Tensor:
        """Return logits [N, V] of the model as it is, in float32, without dropout and graph. It stays as it is.

        Every rank must call this, with the same rows, between two steps.
        """
        ...

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of one micro-batch's loss."""
        ...

    @property
    def shapes(self) -> Sequence[torch.Size]:
        """Unsharded shapes of the trained weights. Every list of gradients has the same order."""
        ...

    def zeros(self) -> list[Tensor]:
        """Return zeros for each trained weight, float32: whole, or flat for the part that this rank works on."""
        ...

    def add_gradient(self, loss: Tensor, total: Sequence[Tensor]) -> None:
        """Add the gradient of a loss to `total`, in the form of `zeros`. Keep the graph, and accumulate nothing else.

        Every rank must call this, with a graph of the same operations.
        """
        ...

    def mean_over_ranks(self, total: Sequence[Tensor]) -> list[Tensor]:
        """Return the mean over ranks of what `add_gradient` has added."""
        ...

    def sum_parts(self, values: Tensor) -> Tensor:
        """Return the sum over all entries of the weights, from each rank's sum over the entries it works on."""
        ...

    def part(self, index: int, whole: Tensor) -> Tensor:
        """Return, in the form of `zeros`, what this rank works on of a tensor shaped like a whole weight."""
        ...

    def place(self, gradients: Sequence[Tensor]) -> None:
        """Set the gradients, in the form of `zeros`, that the next `step` uses."""
        ...

    def moved(self, offsets: Sequence[Tensor]) -> AbstractContextManager[float]:
        """Add `offsets` to the weights inside the context; restore the weights bit for bit on exit.

        `offsets` have the form of `zeros`. Yield the L2 norm of the actual change of all weights, after rounding to
        their number format.
        """
        ...

    def drop_gradients(self) -> bool:
        """Clear the gradients of an unfinished step. Return whether the step can begin again with this backend."""
        ...

    def step(self, learning_rate: float) -> None:
        """Clip, update the weights, clear the gradients."""
        ...

    def save(self, folder: Path) -> None:
        """Write weights and optimizer into `folder`, from all ranks, between two steps."""
        ...

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote."""
        ...

    def finish(self) -> None:
        """Unwrap the model; rank 0 then has all trained weights, or every rank its shard. Every rank must call this."""
        ...

    def close(self) -> None:
        """Free optimizer state, buffers and what the backend set up in this process. May be called twice."""
        ...
