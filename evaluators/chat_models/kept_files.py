"""What chat models answered and was paid for: one JSON file an answer, in a folder that all processes share.

Two processes that ask the same at the same time would both pay for it. So whoever asks holds the answer's lock, and the
other waits and reads the file. The kernel releases the lock of a process that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LOCK_DIGITS = 3
"""Hexadecimal digits of a key that name its lock: 4,096 locks, so that few different questions share one."""


class KeptFiles:
    """Answers by key, a hexadecimal digest. Safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> object:
        """Return the JSON kept under `key`; None where there is none or where a crash has cut the file off."""
        try:
            return json.loads(self._file(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def write(self, key: str, content: Mapping[str, object]) -> None:
        """Keep `content` under `key`; a reader meets the whole file or none."""
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, file)

    @contextmanager
    def asking(self, key: str) -> Iterator[None]:
        """Hold the lock of `key` while its answer is asked for; wait for whoever holds it already.

        Read again once inside: the answer may have come while this caller waited.
        """
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / key[:LOCK_DIGITS]).open("ab") as file:  # opened here, so that it also excludes other threads
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
