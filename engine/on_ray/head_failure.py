"""Handle loss of the Ray head: print advice, kill child processes, exit without calling Ray."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import psutil

from unlearn_sweep.engine.on_ray.heartbeat import HeadWatch, Patience, Service
from unlearn_sweep.user_error import EXIT_FAILED

LOOKS = 4
OWN_AWAY_S = 8.0
JOINED_AWAY_S = 13.0
"""Seconds without an answer until a service counts as lost. A private service or a raylet is never restarted, but a
cluster with a standby head has it back within seconds."""
GO_ON = "finished work is kept: rerun the same command to resume"


def watch_head(head: str, raylet: str, *, joined: bool) -> HeadWatch:
    """Return a context manager that raises HeadLostError if the head service or the local raylet is lost.

    `head` and `raylet` are `host:port`. `joined` is whether the cluster is shared rather than private.
    """
    away = JOINED_AWAY_S if joined else OWN_AWAY_S
    whose = "the Ray cluster's head" if joined else "Ray's head service on this machine"
    advice = ". Make sure that it is up before the next run" if joined else ""
    services = [
        Service(
            address=address,
            patience=Patience(looks=LOOKS, seconds=seconds),
            reason=f"{what} ({address}) is gone: no answer for {seconds:g} s{advice}",
        )
        for what, address, seconds in ((whose, head, away), ("Ray's raylet on this machine", raylet, OWN_AWAY_S))
    ]

    def last_resort(reason: str) -> None:
        kill_own_processes()
        print(f"{reason}; {GO_ON}", file=sys.stderr)
        end_process(EXIT_FAILED)

    return HeadWatch(services, last_resort=last_resort)


def kill_own_processes() -> None:
    """Kill this process's Ray children (programs of the `ray` package) and all of their descendants."""
    import ray

    package, family = str(Path(ray.__file__).parent), []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(package in argument for argument in child.cmdline()):
                child.suspend()  # so that it starts no further processes
                family += [child, *child.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()


def ray_was_up() -> bool:
    """Return whether this process is connected to Ray, so threads may be waiting for it."""
    import ray

    return ray.is_initialized()


def end_process(status: int) -> NoReturn:
    """Exit immediately. A normal exit would wait for threads that wait for Ray; Ray's would wait for the head service.

    Everything except the standard streams must be closed before the call.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or a pipe without a reader
            stream.flush()
    os._exit(status)
