"""Track the peak memory of a training."""

from __future__ import annotations

import psutil
import torch

MIB = 1024 * 1024


class MemoryPeak:
    """Peak memory in MiB: the allocator's peak on a GPU; on a CPU, this process's highest resident size at a `look`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.process = psutil.Process()
        self.mib = 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.look()

    def look(self) -> None:
        if self.device.type == "cuda":
            now = torch.cuda.max_memory_allocated(self.device)
        else:
            now = self.process.memory_info().rss
        self.mib = max(self.mib, now / MIB)
