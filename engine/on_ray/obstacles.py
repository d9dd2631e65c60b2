"""What would keep Ray from starting or being joined, found in seconds and without importing it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from unlearn_sweep.engine.on_ray.heartbeat import answers

TRIES_S = 5.0
SOCKET_BYTES = 107
"""The longest path of a UNIX socket on Linux."""
BELOW = "/ray/session_2026-01-31_12-00-00_000000_{pid}/sockets/plasma_store"
"""What Ray puts below its temporary folder; the time has always as many characters."""
LONGEST_PID = 4_194_304


def address_obstacle(address: str | None, environment: Mapping[str, str], *, tries_s: float = TRIES_S) -> str | None:
    """Why the cluster at `address` cannot be joined; None where something listens, or only Ray can tell.

    Ray itself tries a dead address for a quarter of an hour. For "auto" the address is that of RAY_ADDRESS.
    """
    named = environment.get("RAY_ADDRESS") if address == "auto" else address
    if not named or "://" in named or not named.rpartition(":")[2].isdigit() or ":" not in named:
        return None
    deadline = time.monotonic() + tries_s
    while not answers(named):
        if time.monotonic() >= deadline:
            return f"no Ray cluster answers at {named}: nothing listens there"
        time.sleep(0.5)
    return None


def folder_obstacle(environment: Mapping[str, str], *, pid: int | None = None) -> str | None:
    """Why a Ray of our own cannot start: the path of its sockets would be too long. None where it can."""
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if environment.get(name)), None)
    if name is None:
        return None
    below = len(BELOW.format(pid=pid or os.getpid()))
    length = len(os.fsencode(environment[name].rstrip("/")))
    if length + below <= SOCKET_BYTES:
        return None
    return (
        f"{name} is too long for Ray ({length} bytes): a socket's path has at most {SOCKET_BYTES} bytes, and Ray needs "
        f"{below} of them. Set RAY_TMPDIR to a folder of at most {SOCKET_BYTES - below} bytes, such as /tmp/ray-$USER"
    )
