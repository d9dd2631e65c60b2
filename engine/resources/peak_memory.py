"""Measure the peak memory of this process, of the workers that help it, and of its accelerator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.store.outcomes import PeakMemory

PROCESSES = Path("/proc")
RESET_PEAK = "5"
KIB_PER_MIB = 1024
MIB = 2**20


class PeakMeter:
    """Measures the peak since its construction. Linux records the peak of each process and resets it on request.

    `workers` returns the ids of the processes that help this one; their peaks are added, those of processes that have
    ended are not. Pages of weight files that several processes map count for each of them.
    """

    def __init__(self, workers: Callable[[], Sequence[int]] = tuple) -> None:
        self._workers = workers
        for process in ("self", *workers()):
            with contextlib.suppress(OSError):  # not Linux, or no permission: the peak then covers the whole process
                (PROCESSES / str(process) / "clear_refs").write_text(RESET_PEAK)
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()

    def read(self) -> PeakMemory:
        """Return the peak since construction; on accelerators that of this process on its first one."""
        cuda = _cuda()
        peaks = [_resident_peak_mib(process) for process in ("self", *self._workers())]
        host = None if peaks[0] is None else sum(peak for peak in peaks if peak is not None)
        if cuda is None:
            return PeakMemory(host=host)
        total = cuda.get_device_properties(cuda.current_device()).total_memory
        held = cuda.max_memory_reserved()
        return PeakMemory(host=host, accelerator=held / MIB, accelerator_total=total / MIB)


def _resident_peak_mib(process: int | str) -> float | None:
    with contextlib.suppress(OSError):
        for line in (PROCESSES / str(process) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / KIB_PER_MIB
    return None


def _cuda() -> Any:
    """Return torch.cuda if this process has initialized it, else None. Does not initialize it."""
    import torch

    return torch.cuda if torch.cuda.is_initialized() else None
