"""A background thread that keeps a copy of a running sweep up to date, in MLflow or in a mirror.

The copy is a view: what is on disk stays the source of truth, and a failing copy never stops the sweep.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable


class SyncThread(ABC):
    """Runs `update` when poked, and once more in `close`. Warns at the first failure, and in `close` if incomplete.

    Args:
        name: name of the thread.
        warn: called with a message.
        every_s: least time between two updates in seconds, and longest time without one. None: update only when poked.
    """

    def __init__(self, name: str, warn: Callable[[str], None], *, every_s: float | None = None) -> None:
        self._warn = warn
        self._every_s = every_s
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._behind: str | None = None
        self._warned = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def update(self, *, last: bool) -> None:
        """Write what the copy does not have yet. `last`: the sweep has ended."""

    @abstractmethod
    def expected(self) -> tuple[type[Exception], ...]:
        """Return the errors that mean that the copy cannot be updated now. Any other error ends the thread."""

    @abstractmethod
    def failed(self, error: Exception) -> str:
        """Return why an update failed, on one line."""

    @abstractmethod
    def first_warning(self, why: str) -> str:
        """Return the message for the first failure."""

    @abstractmethod
    def last_warning(self, why: str) -> str:
        """Return the message for a copy that is incomplete at the end."""

    def start(self) -> None:
        self._thread.start()

    def poke(self) -> None:
        """Request an update and return at once. Calls during an update lead to exactly one further update."""
        self._wake.set()

    def close(self, timeout_s: float) -> bool:
        """Run a last update, wait for it up to `timeout_s` seconds, and return whether the copy is complete."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._behind = f"it did not finish in {timeout_s:.0f} s"
        if self._behind is not None:
            self._warn(self.last_warning(self._behind))
        return self._behind is None

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait(self._every_s)
            self._wake.clear()
            # Read this before the update, so that a `close` during the update still gets an update of its own.
            closing = self._closing.is_set()
            self._pass(last=closing)
            if self._every_s is not None:
                self._closing.wait(self._every_s)

    def _pass(self, *, last: bool) -> None:
        self._behind = "it ended unexpectedly"
        try:
            self.update(last=last)
        except self.expected() as error:
            self._behind = self.failed(error)
            if not self._warned:
                self._warned = True
                self._warn(self.first_warning(self._behind))
        else:
            self._behind = None
