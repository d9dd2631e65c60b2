"""SIGINT, SIGTERM and SIGHUP as a clean stop: an error in the main thread, which every `finally` sees.

Slurm, Kubernetes and systemd send SIGTERM and kill half a minute later; a closed terminal sends SIGHUP.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ONE_PRESS_S = 1.0
"""Signals this close together are one: a terminal and a wrapper both pass on the same Ctrl-C."""


class StopSignal(KeyboardInterrupt):
    """A signal asked the process to stop. A KeyboardInterrupt, the only error that goes through Ray's own waiting."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status by the shell's convention: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number


class StopHandler:
    """Raises StopSignal at the first signal. At a second one, later than ONE_PRESS_S, it ends the process at once."""

    def __init__(self) -> None:
        self._first_at: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_at is None:
            self._first_at = now
            raise StopSignal(number)
        if now - self._first_at > ONE_PRESS_S:
            _end_at_once(128 + number)


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """A block that a stop signal ends with StopSignal. Signals that are ignored stay ignored, as under nohup."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = StopHandler()
    before = {number: signal.getsignal(number) for number in STOPS}
    taken = [number for number, old in before.items() if old is not signal.SIG_IGN and old is not None]
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """A block after which the stop signals have the handlers from before. `ray.init` installs its own, in C++ too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if isinstance(handler, StopHandler):
                signal.signal(number, handler)


def reason_of_stop(error: BaseException) -> str:
    """What a stopped sweep's event says."""
    return f"stopped by {error}" if isinstance(error, StopSignal) else "interrupted"


def _end_at_once(status: int) -> NoReturn:
    head_failure = sys.modules.get("unlearn_sweep.engine.on_ray.head_failure")
    if head_failure is not None and "ray" in sys.modules:
        head_failure.kill_own_processes()
    os._exit(status)
