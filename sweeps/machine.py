"""CPUs, GPUs, memory and optional libraries of this machine, detected without importing torch."""

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
    """Resources of a machine.

    Attributes:
        cpus: Logical CPUs that this process may use.
        gpus: NVIDIA GPUs that are visible to this process.
        gpu_gib: Memory of the smallest of them in GiB; None if there is none or it is unknown.
        memory_gib: Main memory in GiB.
        flash_attention: Whether flash-attn is installed.
        quantizers: Installed libraries of `QUANTIZERS`.
        load: Load average of the last minute; None if unknown.
    """

    cpus: int
    gpus: int
    gpu_gib: float | None = None
    memory_gib: float
    flash_attention: bool
    quantizers: frozenset[str] = frozenset()
    load: float | None = None

    def resources(self) -> dict[str, float]:
        """Return the resources under Ray's names."""
        return {"CPU": float(self.cpus), "GPU": float(self.gpus)}


def this_machine() -> Machine:
    """Return the machine of this process."""
    gpus = _gpus()
    return Machine(
        cpus=_cpus(),
        gpus=gpus,
        gpu_gib=_gpu_gib() if gpus else None,
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        flash_attention=importlib.util.find_spec("flash_attn") is not None,
        quantizers=frozenset(name for name in QUANTIZERS if importlib.util.find_spec(name) is not None),
        load=os.getloadavg()[0],
    )


def busy_note(machine: Machine | None) -> str | None:
    """Return a warning if the machine is already loaded. None if it is idle or the load is unknown."""
    if machine is None or machine.load is None or machine.load < BUSY_SHARE * machine.cpus:
        return None
    return (
        f"other work runs on this machine (load {machine.load:.1f} on {machine.cpus} CPUs): "
        "the sweep will take longer than estimated, because the estimates assume an idle machine"
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
    """Count GPUs with nvidia-smi, for systems without /dev/nvidia<n>. 0 if the command is missing or times out."""
    return sum(line.startswith("GPU ") for line in _smi("-L"))


def _gpu_gib() -> float | None:
    """Return the memory of the smallest GPU by nvidia-smi, or None if the command is missing, times out or fails."""
    lines = _smi("--query-gpu=memory.total", "--format=csv,noheader,nounits")
    sizes = [float(line) / 1024 for line in lines if re.fullmatch(r"\s*[0-9]+\s*", line)]
    return min(sizes, default=None)


def _smi(*arguments: str) -> list[str]:
    """Return the lines of nvidia-smi's output; empty if the command is missing or times out."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        answer = subprocess.run(
            [command, *arguments], capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.splitlines()


def free_disk_bytes(path: Path) -> int:
    """Return the free bytes of the file system of `path`, which need not exist."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(there).free
