"""What this machine has, found without starting anything and without torch."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SMI_TIMEOUT_S = 2.0
BUSY_SHARE = 0.5
QUANTIZERS = ("torchao", "bitsandbytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Logical CPUs this process may use, NVIDIA GPUs it may see, memory, and which optional libraries are installed.

    `load` is how many processes were running or waiting to run in the last minute; None where that is not known.
    """

    cpus: int
    gpus: int
    memory_gib: float
    flash_attention: bool
    quantizers: frozenset[str] = frozenset()
    load: float | None = None

    def resources(self) -> dict[str, float]:
        """In Ray's names."""
        return {"CPU": float(self.cpus), "GPU": float(self.gpus)}


def this_machine() -> Machine:
    """The machine this runs on."""
    return Machine(
        cpus=_cpus(),
        gpus=_gpus(),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        flash_attention=importlib.util.find_spec("flash_attn") is not None,
        quantizers=frozenset(name for name in QUANTIZERS if importlib.util.find_spec(name) is not None),
        load=os.getloadavg()[0],
    )


def busy_note(machine: Machine | None) -> str | None:
    """That other work will slow the sweep down; None where the machine is idle, or nobody knows."""
    if machine is None or machine.load is None or machine.load < BUSY_SHARE * machine.cpus:
        return None
    return (
        f"other work runs on this machine (load {machine.load:.1f} on {machine.cpus} CPUs): "
        "the sweep will take longer than these times, which are those of an idle one"
    )


def _cpus() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return allowed or os.cpu_count() or 1


def _gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() and device.strip() != "-1"])
    devices = [path for path in glob.glob("/dev/nvidia*") if re.fullmatch(r"/dev/nvidia[0-9]+", path)]
    return len(devices) or _listed_gpus()


def _listed_gpus() -> int:
    """GPUs by nvidia-smi, for systems that show them under other names; 0 where it is missing or does not answer."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return 0
    try:
        answer = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in answer.stdout.splitlines())


def free_disk_bytes(path: Path) -> int:
    """Free space where `path` is, or would be."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(there).free
