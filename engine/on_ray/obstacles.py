"""Find out within seconds, without importing Ray, whether Ray can be started or joined."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from unlearn_sweep.engine.on_ray.heartbeat import answers

TRIES_S = 5.0
SOCKET_BYTES = 107
"""Maximum length in bytes of a UNIX socket path on Linux."""
BELOW = "/ray/session_2026-01-31_12-00-00_000000_{pid}/sockets/plasma_store"
"""Longest path below Ray's temporary folder. The timestamp has a constant length."""
LONGEST_PID = 4_194_304


def address_obstacle(address: str | None, environment: Mapping[str, str], *, tries_s: float = TRIES_S) -> str | None:
    """Return why the cluster at `address` cannot be joined, or None if a service listens or only Ray can find out.

    Tries for `tries_s` seconds; Ray itself would try a dead address for 15 minutes. "auto" means RAY_ADDRESS.
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
    """Return why a private Ray cannot start (its socket paths would be too long), or None if it can."""
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
