"""Numbers for each entry of the weights, of which every rank holds an equal part: flat, padded with zeros, in float32.

Sums over all entries are sums over the ranks' parts, so norms, inner products and signs need no whole tensor anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


class Parts:
    """How weights of these shapes are divided: rank r has entries r n to (r + 1) n of each, n = ceil(entries / ranks).

    That is how ZeRO stage 3 divides its weights too. Requires a process group.
    """

    def __init__(self, shapes: Sequence[torch.Size]) -> None:
        self.shapes = list(shapes)
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()

    def length(self, index: int) -> int:
        """Return the entries of a rank's part of one weight, with padding."""
        return -(-self.shapes[index].numel() // self.ranks)

    def zeros(self, device: torch.device) -> list[Tensor]:
        return [torch.zeros(self.length(index), device=device) for index in range(len(self.shapes))]

    def own(self, index: int, whole: Tensor) -> Tensor:
        """Return this rank's part of a whole tensor, without padding; a view where the tensor is contiguous."""
        length = self.length(index)
        return whole.detach().reshape(-1)[self.rank * length : (self.rank + 1) * length]

    def padded(self, index: int, part: Tensor) -> Tensor:
        """Return a part with its padding, in float32."""
        missing = self.length(index) - part.numel()
        return torch.nn.functional.pad(part.float(), (0, missing)) if missing else part.float()

    def mean_over_ranks(self, index: int, whole: Tensor) -> Tensor:
        """Return this rank's part of the mean of all ranks' whole tensors. Every rank must call this."""
        length = self.length(index)
        flat = whole.detach().reshape(-1).float()
        flat = torch.nn.functional.pad(flat, (0, length * self.ranks - flat.numel()))
        part = torch.empty(length, device=flat.device)
        dist.reduce_scatter_tensor(part, flat)
        return part / self.ranks

    def whole(self, index: int, part: Tensor) -> Tensor:
        """Return the whole tensor from all ranks' padded parts. Every rank must call this."""
        flat = torch.empty(self.length(index) * self.ranks, dtype=part.dtype, device=part.device)
        dist.all_gather_into_tensor(flat, part.contiguous())
        return flat[: self.shapes[index].numel()].view(self.shapes[index])

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of the values that all ranks computed from their parts. Every rank must call this."""
        values = values.clone()
        dist.all_reduce(values)
        return values
