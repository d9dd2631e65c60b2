"""The event log: one JSON object a line, append-only, written by every process of a sweep.

A line goes out in a single write under a lock and is flushed to the device, so lines never mix and a finished stage is
never forgotten. A line torn by a crash is skipped by the reader and closed off by the next writer.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unlearn_sweep.engine.store.records import Event


class EventLog:
    """Appends to and reads `events.jsonl`. Safe for several processes on one machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event now. Fields are those of `Event`; returns what was written."""
        record = Event(time=time.time(), event=event, **fields)
        line = record.model_dump_json(exclude_none=True).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _write_all(handle, (b"" if _ends_whole(handle) else b"\n") + line)
            os.fsync(handle)
        finally:
            os.close(handle)
        return record

    def read(self) -> list[Event]:
        """All whole events, in order."""
        return [event for event, _ in self.read_from(0)]

    def read_from(self, offset: int) -> Iterator[tuple[Event, int]]:
        """Whole events from a byte offset on, each with the offset behind it; stops before a line still in writing."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    yield Event.model_validate_json(line), offset
                except ValidationError:
                    continue  # torn by a crash and closed off by the next writer


def _write_all(handle: int, data: bytes) -> None:
    """All of it: a disk that fills up takes a part without an error, and refuses the rest."""
    while data:
        data = data[os.write(handle, data) :]


def _ends_whole(handle: int) -> bool:
    """Whether the file is empty or its last byte ends a line."""
    size = os.fstat(handle).st_size
    return size == 0 or os.pread(handle, 1, size - 1) == b"\n"
