"""Verdicts that were paid for: in memory, and in a folder that all processes of a sweep share."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from pathlib import Path

from unlearn_sweep.evaluators.chat_models.kept_files import KeptFiles


class KeptVerdicts:
    """Verdicts in [0, 1] by key, a hexadecimal digest. Safe to use from several threads and processes.

    Args:
        folder: shared between processes; None keeps verdicts in this object alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self._files = None if folder is None else KeptFiles(folder)
        self._known: dict[str, float] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def recall(self, key: str) -> float | None:
        """Return the verdict kept under `key`; None where there is none or its file says nothing."""
        if key not in self._known and self._files is not None:
            kept = self._files.read(key)
            value = kept.get("value") if isinstance(kept, dict) else None
            if not isinstance(value, int | float):
                return None
            self._known[key] = float(value)
        return self._known.get(key)

    def keep(self, key: str, value: float, judge: str) -> None:
        """Keep a verdict, with the identity of the judge for a person who opens the file."""
        self._known[key] = value
        if self._files is not None:
            self._files.write(key, {"value": value, "judge": judge})

    def asking(self, key: str) -> AbstractContextManager[object]:
        """Return the lock of `key`, to be held while its verdict is asked for; recall again once inside."""
        if self._files is not None:
            return self._files.asking(key)
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())
