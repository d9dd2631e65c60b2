"""Measure the peak memory of this process and of its accelerator."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.store.outcomes import PeakMemory

PROCESS = Path("/proc/self")
RESET_PEAK = "5"
KIB_PER_MIB = 1024
MIB = 2**20


class PeakMeter:
    """Measures the peak since its construction. Linux records the peak of each process and resets it on request."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):  # not Linux, or no permission: the peak then covers the whole process
            (PROCESS / "clear_refs").write_text(RESET_PEAK)
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()

    def read(self) -> PeakMemory:
        """Return the peak since construction."""
        cuda = _cuda()
        if cuda is None:
            return PeakMemory(host=_resident_peak_mib())
        total = cuda.get_device_properties(cuda.current_device()).total_memory
        held = cuda.max_memory_reserved()
        return PeakMemory(host=_resident_peak_mib(), accelerator=held / MIB, accelerator_total=total / MIB)


def _resident_peak_mib() -> float | None:
    with contextlib.suppress(OSError):
        for line in (PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / KIB_PER_MIB
    return None


def _cuda() -> Any:
    """Return torch.cuda if this process has initialized it, else None. Does not initialize it."""
    import torch

    return torch.cuda if torch.cuda.is_initialized() else None
