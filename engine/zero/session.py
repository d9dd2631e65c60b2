"""What DeepSpeed needs of a process: an accelerator, a rank, a process group. All of it is undone afterwards.

DeepSpeed is imported when it is first needed: without a GPU, DS_ACCELERATOR must be set before the import.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
import torch.distributed as dist

BUILDABLE = "__compatible_ops__"


def import_deepspeed() -> ModuleType:
    """Import DeepSpeed without its start-up log lines and without the C++ build it runs at first use on a CPU.

    On a CPU its communication layer compiles a shared-memory operator. That takes a minute and a compiler, and an
    interrupted build hangs the next start. Only inference uses the operator, so it is declared incompatible here.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    import deepspeed.ops

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if not torch.cuda.is_available():
        setattr(deepspeed.ops, BUILDABLE, {})
    return deepspeed


@contextmanager
def zero_session() -> Iterator[ModuleType]:
    """Yield DeepSpeed, with a rank and a process group. Sessions may be nested.

    ZeRO stage 3 replaces `torch.nn.functional.linear`, so that no graph keeps gathered weights. It is restored here.
    """
    deepspeed = import_deepspeed()
    linear = torch.nn.functional.linear
    with local_rank(), process_group(deepspeed):
        try:
            yield deepspeed
        finally:
            torch.nn.functional.linear = linear


@contextmanager
def local_rank() -> Iterator[None]:
    """Set LOCAL_RANK inside the context if no launcher has set it; DeepSpeed reads it repeatedly."""
    if "LOCAL_RANK" in os.environ:
        yield
        return
    os.environ["LOCAL_RANK"] = str(torch.cuda.current_device() if torch.cuda.is_available() else 0)
    try:
        yield
    finally:
        del os.environ["LOCAL_RANK"]


@contextmanager
def process_group(deepspeed: ModuleType) -> Iterator[None]:
    """Create a process group of this process alone if there is none; DeepSpeed always requires one."""
    if dist.is_initialized():
        yield
        return
    store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage] -- documented as torch.distributed's own
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        if deepspeed.comm.is_initialized():
            deepspeed.comm.destroy_process_group()  # also clears the groups that DeepSpeed derived from this one
        else:
            dist.destroy_process_group()
