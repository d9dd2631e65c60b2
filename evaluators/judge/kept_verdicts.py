"""Verdicts that were paid for: kept in a folder that all processes of a sweep share, one file a verdict.

Two processes that meet the same answer at the same time would both pay for it. So whoever asks holds the verdict's
lock, and the other waits and reads the result. The kernel releases the lock of a process that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_DIGITS = 3
"""Hexadecimal digits of a verdict's key that name its lock: 4,096 locks, so that few different questions share one."""


class KeptVerdicts:
    """Verdicts in [0, 1] by key, a hexadecimal digest. Safe to use from several threads and processes.

    Args:
        folder: shared between processes; None keeps verdicts in this object alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, float] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def recall(self, key: str) -> float | None:
        """Return the verdict kept under `key`; None where there is none or where a crash has cut its file off."""
        if key not in self._known and self._folder is not None:
            try:
                kept = json.loads(self._file(self._folder, key).read_text(encoding="utf-8"))
                self._known[key] = float(kept["value"])
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return self._known.get(key)

    def keep(self, key: str, value: float, judge: str) -> None:
        """Keep a verdict, with the identity of the judge for a person who opens the file."""
        self._known[key] = value
        if self._folder is None:
            return
        file = self._file(self._folder, key)
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump({"value": value, "judge": judge}, stream)
        os.replace(scratch, file)

    @contextmanager
    def asking(self, key: str) -> Iterator[None]:
        """Hold the lock of `key` while its verdict is asked for; wait for whoever holds it already.

        Recall again once inside: the verdict may have come while this caller waited.
        """
        stripe = key[:LOCK_DIGITS]
        if self._folder is None:
            with self._guard:
                lock = self._locks.setdefault(stripe, threading.Lock())
            with lock:
                yield
            return
        locks = self._folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / stripe).open("ab") as file:  # opened here, so that it also excludes other threads
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _file(folder: Path, key: str) -> Path:
        return folder / key[:2] / f"{key}.json"
