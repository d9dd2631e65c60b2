"""`stage_timeout_s` for stages that run in this process: an error in the main thread, then the process's end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

LAST_RESORT_S = 30.0
"""How long after its limit a stage may take to end by the error: one call into torch is not interrupted."""
FAILED = 1


def over_time_reason(limit_s: float | None) -> str:
    """What the record of a stage over its time says."""
    return f"ran longer than stage_timeout_s = {limit_s:g}"


@contextlib.contextmanager
def time_limited(limit_s: float | None) -> Iterator[None]:
    """A block of the main thread that ends with TimeoutError after `limit_s` seconds; None lets it take its time.

    Where the error does not end it within LAST_RESORT_S, the process ends with a line and status 1: what hangs inside
    a library's own code sees no error. In another thread the second is all there is.
    """
    if limit_s is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            stack.enter_context(_interrupted_after(limit_s))
        stack.enter_context(_clock(limit_s + LAST_RESORT_S, lambda: _end(limit_s)))
        yield


@contextlib.contextmanager
def _interrupted_after(limit_s: float) -> Iterator[None]:
    main, done = threading.main_thread().ident or 0, threading.Lock()
    over = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not over:
            raise TimeoutError(over_time_reason(limit_s))

    def send() -> None:
        with done:
            if not over:
                signal.pthread_kill(main, signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, interrupt)
    try:
        with _clock(limit_s, send):
            yield
    finally:
        over = True
        with done:  # from here on no signal comes, which without our handler would end the process
            signal.signal(signal.SIGUSR2, before)


@contextlib.contextmanager
def _clock(seconds: float, ring: Callable[[], None]) -> Iterator[None]:
    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(limit_s: float) -> None:
    advice = "nothing that was finished is lost: give it more time, or leave it out, and run the same command again"
    print(f"a stage {over_time_reason(limit_s)} and cannot be interrupted; {advice}", file=sys.stderr, flush=True)
    os._exit(FAILED)
