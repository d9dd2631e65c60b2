"""Whether this machine has a GPU, as the files of its drivers say; without importing torch, for DeepSpeed's sake."""

from __future__ import annotations

from pathlib import Path

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Files of the drivers of NVIDIA and AMD, and of GPUs under WSL 2."""


def accelerator_environment() -> dict[str, str]:
    """Return the variable that lets DeepSpeed use the CPU where no GPU is; empty where one is.

    DeepSpeed reads it during its import, and without it looks for a GPU and prints a warning to stdout.
    """
    return {} if any(Path(device).exists() for device in GPU_DEVICES) else {"DS_ACCELERATOR": "cpu"}
