"""Enforce `stage_timeout_s` for stages in this process: raise in the main thread; if that fails, exit the process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from unlearn_sweep.user_error import EXIT_FAILED

LAST_RESORT_S = 30.0
"""Seconds after the limit until the process exits. The error cannot interrupt a single call into torch."""


def over_time_reason(limit_s: float | None) -> str:
    """Return the reason to record for a stage that exceeded its time limit."""
    return f"ran longer than stage_timeout_s = {limit_s:g}"


@contextlib.contextmanager
def time_limited(limit_s: float | None) -> Iterator[None]:
    """Raise TimeoutError in a block of the main thread after `limit_s` seconds. None: no limit.

    If the block does not end within another `LAST_RESORT_S` seconds, the process prints a line and exits with status 1,
    because the error cannot interrupt a hanging library call. In other threads only the exit applies.
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
        with done:  # no signal is sent after this; without our handler it would end the process
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
    advice = "finished work is kept: raise stage_timeout_s or remove the stage, then rerun the same command"
    print(f"a stage {over_time_reason(limit_s)} and cannot be interrupted; {advice}", file=sys.stderr, flush=True)
    os._exit(EXIT_FAILED)
