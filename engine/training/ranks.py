"""The processes that train together: the ranks of `torch.distributed`, or one process if it is not initialised."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's rank, and the number of ranks."""

    rank: int
    world_size: int

    @classmethod
    def current(cls) -> Ranks:
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls(0, 1)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks. Every rank must call this."""
        if self.world_size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until every rank has called this."""
        if self.world_size > 1:
            self.sum(torch.zeros(1, device=collective_device()))


def collective_device() -> torch.device:
    """Return the device of the process group's tensors: the GPU for NCCL, the CPU otherwise."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
