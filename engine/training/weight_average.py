"""Keep a running mean of the trained weights, and replace the weights with it at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from unlearn_sweep.methods.interface import AverageSettings


class RunningAverage:
    """Running mean of the trained weights; takes one more float32 copy of them on every rank.

    `whole` is the backend's context manager that gathers sharded weights.
    """

    def __init__(
        self, settings: AverageSettings, module: nn.Module, whole: Callable[..., AbstractContextManager[object]]
    ) -> None:
        self.settings = settings
        self.module = module
        self.whole = whole
        self.mean: list[Tensor] | None = None
        self.taken = 0

    @torch.no_grad()
    def take(self, index: int, steps: int) -> None:
        """Add the weights after step `index` (from 0) of `steps`, if it counts. The last one does if none did."""
        counts = (index + 1) / steps > self.settings.start and (index + 1) % self.settings.every == 0
        if not counts and (index + 1 < steps or self.mean is not None):
            return
        with self.whole():
            now = [weight.detach().float() for weight in self._weights()]
            self.taken += 1
            if self.mean is None:
                self.mean = [weight.clone() for weight in now]
                return
            decay = self.settings.decay
            share = 1 / self.taken if decay is None else 1 - decay
            for held, new in zip(self.mean, now, strict=True):
                held.lerp_(new, share)

    @torch.no_grad()
    def put(self) -> None:
        """Replace the model's weights with the mean. The model must be unwrapped and unsharded."""
        for weight, mean in zip(self._weights(), self.mean or (), strict=self.mean is not None):
            weight.copy_(mean)

    def _weights(self) -> Iterator[nn.Parameter]:
        return (weight for weight in self.module.parameters() if weight.requires_grad)
