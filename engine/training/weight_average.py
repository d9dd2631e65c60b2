"""Keep a running mean of the trained weights, and replace the weights with it at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.zero.shards import is_sharded, own_part
from unlearn_sweep.methods.interface import AverageSettings


class RunningAverage:
    """Running mean of the trained weights; takes one more float32 copy of what this rank holds of them."""

    def __init__(self, settings: AverageSettings, module: nn.Module) -> None:
        self.settings = settings
        self.module = module
        self.mean: list[Tensor] | None = None
        self.taken = 0

    @torch.no_grad()
    def take(self, index: int, steps: int) -> None:
        """Add the weights after step `index` (from 0) of `steps`, if it counts. The last one does if none did."""
        counts = (index + 1) / steps > self.settings.start and (index + 1) % self.settings.every == 0
        if not counts and (index + 1 < steps or self.mean is not None):
            return
        self.taken += 1
        if self.mean is None:
            self.mean = [weight.detach().float().clone() for weight in self._weights()]
            return
        decay = self.settings.decay
        share = 1 / self.taken if decay is None else 1 - decay
        for held, new in zip(self.mean, self._weights(), strict=True):
            held.lerp_(new.detach().float(), share)

    @torch.no_grad()
    def put(self) -> None:
        """Replace the weights that this rank holds with their mean. The model must be unwrapped."""
        for weight, mean in zip(self._weights(), self.mean or (), strict=self.mean is not None):
            weight.copy_(mean)

    @torch.no_grad()
    def put_for_now(self) -> list[Tensor]:
        """Do what `put` does, and return what `take_back` restores."""
        kept = [weight.detach().clone() for weight in self._weights()]
        self.put()
        return kept

    @torch.no_grad()
    def take_back(self, kept: list[Tensor]) -> None:
        """Restore the weights that `put_for_now` returned, to the bit."""
        for weight, before in zip(self._weights(), kept, strict=True):
            weight.copy_(before)

    def save(self, folder: Path, ranks: Ranks) -> None:
        """Write the mean so far into a checkpoint's folder: rank 0, or each rank its part."""
        if self.mean is None or not (ranks.first or self.sharded):
            return
        tensors = {str(number): mean.cpu().contiguous() for number, mean in enumerate(self.mean)}
        save_file(tensors | {"taken": torch.tensor(self.taken)}, folder / self._file(ranks))

    def load(self, folder: Path, ranks: Ranks) -> None:
        """Restore what `save` wrote, if it wrote anything."""
        file = folder / self._file(ranks)
        if file.is_file():
            mean = load_file(file)
            self.taken = int(mean.pop("taken"))
            place = next(self._weights()).device
            self.mean = [mean[str(number)].to(place) for number in range(len(mean))]

    @property
    def sharded(self) -> bool:
        """Whether each rank holds only its part of the weights."""
        return any(map(is_sharded, self.module.parameters()))

    def _file(self, ranks: Ranks) -> str:
        return f"average-{ranks.rank}.safetensors" if self.sharded else "average.safetensors"

    def _weights(self) -> Iterator[Tensor]:
        trained = (weight for weight in self.module.parameters() if weight.requires_grad)
        return (own_part(weight) if is_sharded(weight) else weight for weight in trained)
