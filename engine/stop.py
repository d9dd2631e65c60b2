"""Turn SIGINT, SIGTERM and SIGHUP into an exception in the main thread, so that every `finally` block runs.

Slurm, Kubernetes and systemd send SIGTERM, and SIGKILL 30 to 90 seconds later by default. Closing a terminal sends
SIGHUP.
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
"""Signals within this time count as one, because a terminal and a wrapper may both forward the same Ctrl-C."""


class StopSignal(KeyboardInterrupt):
    """The process received a stop signal. A KeyboardInterrupt, the only exception that escapes Ray's wait loops."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """Exit status by shell convention: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number


class StopHandler:
    """Signal handler: the first signal raises StopSignal. A signal more than ONE_PRESS_S later exits immediately."""

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
def stops_ignored() -> Iterator[None]:
    """Ignore stop signals in the block, while a stopped process says its last words: a second Ctrl-C cuts none off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
    try:
        yield
    finally:
        for number, old in before.items():
            if old is not None:  # a handler that is not Python's cannot be put back
                signal.signal(number, old)


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """Raise StopSignal in the block on a stop signal. Signals that were ignored stay ignored (nohup)."""
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
    """Restore each StopHandler after the block. `ray.init` installs its own handlers, some of them in C++."""
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
    """Return the reason text for the event of a stopped sweep."""
    return f"stopped by {error}" if isinstance(error, StopSignal) else "interrupted"


def _end_at_once(status: int) -> NoReturn:
    head_failure = sys.modules.get("unlearn_sweep.engine.on_ray.head_failure")
    if head_failure is not None and "ray" in sys.modules:
        head_failure.kill_own_processes()
    os._exit(status)
