"""One rank of a process group of gloo in a process of its own, from its first line to its exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist


@contextmanager
def rank_process(rank: int, world_size: int, folder: Path) -> Iterator[None]:
    """Join the group that meets at FOLDER/meeting; leave the process with status 0 when the body ends.

    It ends without Python's finalization, as a killed worker of Ray does. Gloo's threads may still drop tensors at that
    time, and a thread that asks for the GIL of an interpreter that finalizes aborts the process (pytorch issue 190489).
    An exception of the body ends the process as usual, with its traceback and status 1.
    """
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world_size)
    yield
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
