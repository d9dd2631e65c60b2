"""Whether the services of Ray that a driver cannot do without still listen, and the end of its work where one does not.

Without the cluster's head service, or the raylet of the driver's own machine, nothing new starts and nothing that is
asked of them answers; Ray itself waits a minute, or for ever. A thread looks at their ports and interrupts the main
thread, wherever that waits.
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
    """The head service or the driver's own raylet is gone. Ray cannot be left then: `end_process` ends it all."""


@dataclass(slots=True, kw_only=True)
class Patience:
    """How long a service may be away: `looks` failed in a row, over `seconds` at least. One that restarts is back."""

    looks: int
    seconds: float
    _failed: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)

    def is_over(self, *, answered: bool, now: float) -> bool:
        """Whether the service counts as gone after one look more."""
        if answered:
            self._failed = 0
            return False
        self._since = now if self._failed == 0 else self._since
        self._failed += 1
        return self._failed >= self.looks and now - self._since >= self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One that is watched: its `host:port`, how long it may be away, and what is said where it stays away."""

    address: str
    patience: Patience
    reason: str


def answers(address: str) -> bool:
    """Whether something listens at `host:port`. A service too busy to reply does: the kernel takes the connection."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True


class HeadWatch:
    """A block that ends with HeadLostError, saying its reason, once one of the services has been away for too long.

    The main thread enters it, and is interrupted until it leaves: a `finally` inside may wait for Ray as well. Where it
    does not leave, blocked inside Ray's core, `last_resort` is called in the watching thread, with the reason.
    """

    def __init__(self, services: Sequence[Service], *, last_resort: Callable[[str], None]) -> None:
        self.lost = False
        self._services, self._reason = tuple(services), ""
        self._last_resort = last_resort
        self._left, self._sending = threading.Event(), threading.Lock()

    def __enter__(self) -> HeadWatch:
        # Not SIGINT, which is a person's, and is ignored in what a shell starts in the background.
        self._before = signal.signal(signal.SIGUSR1, self._on_signal)
        threading.Thread(target=self._watch, name="head-watch", daemon=True).start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._left.set()
        with self._sending:  # from here on no signal comes, which without our handler would end the process
            signal.signal(signal.SIGUSR1, self._before)
        if self.lost and error is not None:
            raise HeadLostError(self._reason) from None

    def _on_signal(self, number: int, frame: object) -> None:
        if self.lost and not self._left.is_set():
            raise KeyboardInterrupt  # the only error that goes through Ray's own waiting

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
