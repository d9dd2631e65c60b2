"""What the loop asks of a step backend. A backend owns forward, backward and step.

    torch      one process, or DistributedDataParallel where there are several
    deepspeed  a raw DeepSpeed engine, ZeRO stage 0 to 3

Both keep float32 weights in the optimizer, average gradients over ranks, and take the learning rate of each step from
the loop, so that they give the same weights.
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
    """Life: forward and backward inside `micro_batch`, then `step`; at the end `finish`; `close` whatever happened."""

    def micro_batch(self, *, last: bool) -> AbstractContextManager[object]:
        """Surrounds forward and backward of one micro-batch. In the `last` of a step, ranks exchange gradients."""
        ...

    def forward(self, packed: Packed) -> Outputs:
        """Logits [N, V] and hidden states in float32, with a graph."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of one micro-batch's loss."""
        ...

    @property
    def shapes(self) -> Sequence[torch.Size]:
        """Whole shapes of the weights that train, in the order of every list of gradients."""
        ...

    def gradient(self, loss: Tensor) -> Sequence[Tensor | None]:
        """This rank's gradient of a loss with respect to every whole weight; nothing is kept, the graph stays."""
        ...

    def place(self, gradients: Sequence[Tensor]) -> None:
        """Make these, equal on all ranks, the gradient of the next `step`."""
        ...

    def moved(self, offsets: Sequence[Tensor]) -> AbstractContextManager[float]:
        """Inside, forwards see the weights plus `offsets`; at the end the weights are the same bits as before.

        Gives the length of the move as the weights' number format really made it.
        """
        ...

    def whole(self) -> AbstractContextManager[object]:
        """Inside, every trained weight is whole on every rank, to be read."""
        ...

    def step(self, learning_rate: float) -> None:
        """Clip, update the weights, clear the gradients."""
        ...

    def save(self, folder: Path) -> None:
        """Write weights and optimizer into `folder`, from all ranks, between two steps."""
        ...

    def load(self, folder: Path) -> None:
        """Put back what `save` wrote."""
        ...

    def finish(self) -> None:
        """Make the wrapped model an ordinary one again, on rank 0 with all trained weights. Every rank calls it."""
        ...

    def close(self) -> None:
        """Let go of optimizer state, buffers and what the backend set up in this process. May be called twice."""
        ...
