"""What follows where Ray is gone under the driver: what is said, and an end that asks nothing of Ray any more."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import psutil

from unlearn_sweep.engine.on_ray.heartbeat import HeadWatch, Patience, Service

LOOKS = 4
OWN_AWAY_S = 8.0
JOINED_AWAY_S = 13.0
"""Nobody starts a private service or a raylet again; a head that a cluster has a spare of is back within seconds."""
GO_ON = "nothing that was finished is lost: run the same command again to go on"
FAILED = 1


def watch_head(head: str, raylet: str, *, joined: bool) -> HeadWatch:
    """A block that ends with HeadLostError when the head service or the own machine's raylet is gone for good.

    Both are `host:port`.
    """
    away = JOINED_AWAY_S if joined else OWN_AWAY_S
    whose = "the Ray cluster's head" if joined else "Ray's head service on this machine"
    advice = ". See that it is up before the next run" if joined else ""
    services = [
        Service(
            address=address,
            patience=Patience(looks=LOOKS, seconds=seconds),
            reason=f"{what} ({address}) is gone: nothing has answered there for {seconds:g} s{advice}",
        )
        for what, address, seconds in ((whose, head, away), ("Ray's raylet on this machine", raylet, OWN_AWAY_S))
    ]

    def last_resort(reason: str) -> None:
        kill_own_processes()
        print(f"{reason}; {GO_ON}", file=sys.stderr)
        end_process(FAILED)

    return HeadWatch(services, last_resort=last_resort)


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


def ray_was_up() -> bool:
    """Whether this process has been connected to Ray, and may have threads that wait for it."""
    import ray

    return ray.is_initialized()


def end_process(status: int) -> NoReturn:
    """End at once. Python's own end would wait for threads that wait for Ray, and Ray's for the head service.

    What else there is to close is closed by then.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or a pipe that nobody reads
            stream.flush()
    os._exit(status)
