"""How much memory a process, or its accelerator, takes at its highest while something is done."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

PROCESS = Path("/proc/self")
RESET_PEAK = "5"
KIB_PER_MIB = 1024
MIB = 2**20


class PeakMemory(BaseModel):
    """In MiB. `host`: this process's resident memory, None where the system does not tell. `accelerator`: what the
    allocator held of the device, of its `accelerator_total`; None without one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: float | None = None
    accelerator: float | None = None
    accelerator_total: float | None = None


class PeakMeter:
    """Counts from its making on. Linux keeps a process's peak itself, and forgets it on request."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):  # not Linux, or not allowed: the peak is then that of the whole process
            (PROCESS / "clear_refs").write_text(RESET_PEAK)
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()

    def read(self) -> PeakMemory:
        """The highest since then."""
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
    """torch.cuda where this process uses it; None otherwise, without waking it up."""
    import torch

    return torch.cuda if torch.cuda.is_initialized() else None
