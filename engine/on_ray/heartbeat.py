"""Watch the Ray services that a driver needs, and interrupt the driver if one stops listening.

Without the cluster's head service or the local raylet, nothing new starts and calls to them do not return; Ray itself
waits a minute or forever. A thread polls their ports and interrupts the main thread wherever it waits.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from unlearn_sweep.engine.stages.runner import ClusterLostError

LOOK_EVERY_S = 1.0
CONNECT_S = 2.0
INTERRUPT_EVERY_S = 1.0
INTERRUPTS = 6


class HeadLostError(ClusterLostError):
    """The head service or the local raylet is gone. Ray cannot be disconnected then; exit with `end_process`."""


@dataclass(slots=True, kw_only=True)
class Patience:
    """Tolerance for an unreachable service: lost after `looks` consecutive failed checks over at least `seconds`.

    A successful check resets the count, so a service may restart.
    """

    looks: int
    seconds: float
    _failed: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)

    def is_over(self, *, answered: bool, now: float) -> bool:
        """Record one check and return whether the service counts as lost. `now` is in seconds."""
        if answered:
            self._failed = 0
            return False
        self._since = now if self._failed == 0 else self._since
        self._failed += 1
        return self._failed >= self.looks and now - self._since >= self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A watched service.

    Attributes:
        address: `host:port`.
        patience: How long it may be unreachable.
        reason: Message if it is lost.
    """

    address: str
    patience: Patience
    reason: str


def answers(address: str) -> bool:
    """Return whether something listens at `host:port`. A busy service counts: the kernel accepts the connection."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True


class HeadWatch:
    """Context manager that raises HeadLostError with the reason if one of the services is lost.

    Enter it in the main thread. That thread is interrupted repeatedly until it leaves the block, since a `finally`
    inside may wait for Ray too. If it stays blocked inside Ray's core, the watching thread calls `last_resort` with the
    reason.
    """

    def __init__(self, services: Sequence[Service], *, last_resort: Callable[[str], None]) -> None:
        self.lost = False
        self._services, self._reason = tuple(services), ""
        self._last_resort = last_resort
        self._left, self._sending = threading.Event(), threading.Lock()

    def __enter__(self) -> HeadWatch:
        # Not SIGINT: it is for the user, and processes that a shell starts in the background ignore it.
        self._before = signal.signal(signal.SIGUSR1, self._on_signal)
        threading.Thread(target=self._watch, name="head-watch", daemon=True).start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._left.set()
        with self._sending:  # no more signals are sent from here on; without our handler one would end the process
            signal.signal(signal.SIGUSR1, self._before)
        if self.lost and error is not None:
            raise HeadLostError(self._reason) from None

    def _on_signal(self, number: int, frame: object) -> None:
        if self.lost and not self._left.is_set():
            raise KeyboardInterrupt  # the only exception that interrupts Ray's own waits

    def _watch(self) -> None:
        while not (self.lost or self._left.wait(LOOK_EVERY_S)):
            self._look()
        for _ in range(INTERRUPTS):
            with self._sending:
                if self._left.is_set():
                    return
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            self._left.wait(INTERRUPT_EVERY_S)
        if not self._left.is_set():
            self._last_resort(self._reason)

    def _look(self) -> None:
        for service in self._services:
            if service.patience.is_over(answered=answers(service.address), now=time.monotonic()):
                self._reason = service.reason
                self.lost = True
                return
