"""What follows where the cluster's head service is gone: what is said, and an end that asks nothing of Ray any more."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import psutil

from engine.on_ray.heartbeat import HeadWatch, Patience

LOOKS = 4
OWN_AWAY_S = 8.0
JOINED_AWAY_S = 13.0
"""Nobody starts a private head service again; one that a cluster has a spare of is back within seconds."""
GO_ON = "nothing that was finished is lost: run the same command again to go on"
FAILED = 1


def watch_head(address: str, *, joined: bool) -> HeadWatch:
    """A block that ends with HeadLostError when the head service at `address` is gone for good."""
    away = JOINED_AWAY_S if joined else OWN_AWAY_S
    whose = "the Ray cluster's head" if joined else "Ray's head service on this machine"
    reason = f"{whose} ({address}) is gone: nothing has answered there for {away:g} s"
    if joined:
        reason += ". See that it is up before the next run"

    def last_resort() -> None:
        kill_own_processes()
        print(f"{reason}; {GO_ON}", file=sys.stderr)
        end_process(FAILED)

    return HeadWatch(address, Patience(looks=LOOKS, seconds=away), reason=reason, last_resort=last_resort)


def kill_own_processes() -> None:
    """Kill what Ray has started below this process: programs of its package, and everything below them."""
    import ray

    package, family = str(Path(ray.__file__).parent), []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(package in argument for argument in child.cmdline()):
                child.suspend()  # so that it starts nothing more
                family += [child, *child.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()


def end_process(status: int) -> NoReturn:
    """End at once. Python's own end would wait for threads that wait for Ray, and Ray's for the head service.

    What else there is to close is closed by then.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or a pipe that nobody reads
            stream.flush()
    os._exit(status)
