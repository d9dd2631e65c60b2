"""What gradient wrappers keep from one step to the next, in memory and in checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlearn_sweep.engine.training.ranks import Ranks


@dataclass(slots=True)
class GradientMemory:
    """A tensor for each trained weight under each name, in the form that the backend's gradients have.

    `shared` below: every rank keeps the same tensors (the torch backend); else each keeps its own parts.
    """

    parts: dict[str, list[Tensor]] = field(default_factory=dict)

    def save(self, folder: Path, ranks: Ranks, *, shared: bool) -> None:
        """Write a checkpoint's share: rank 0 all of it, or each rank its parts. Nothing kept: no file."""
        if not self.parts or (shared and not ranks.first):
            return
        tensors = {
            f"{name}.{place}": tensor.detach().cpu().contiguous()
            for name, kept in self.parts.items()
            for place, tensor in enumerate(kept)
        }
        save_file(tensors, folder / _file(ranks, shared))

    def load(self, folder: Path, ranks: Ranks, device: torch.device, *, shared: bool) -> None:
        """Restore what `save` wrote, if it wrote anything."""
        file = folder / _file(ranks, shared)
        if not file.is_file():
            return
        found: dict[str, dict[int, Tensor]] = {}
        for key, tensor in load_file(file).items():
            name, _, place = key.rpartition(".")
            found.setdefault(name, {})[int(place)] = tensor.to(device)
        self.parts = {name: [kept[place] for place in sorted(kept)] for name, kept in found.items()}


def _file(ranks: Ranks, shared: bool) -> str:
    return "gradients.safetensors" if shared else f"gradients-{ranks.rank}.safetensors"
