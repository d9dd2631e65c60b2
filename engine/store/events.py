"""The event log: an append-only file with one JSON object per line, written by every process of a sweep.

Each line is written under a lock and flushed to the device, so lines never interleave and no finished stage is lost.
If a crash leaves a partial line, the next writer terminates it with a newline and readers skip it.
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
    """Append to and read `events.jsonl`. Safe for several processes on one machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event with the current time and return it. `fields` are fields of `Event`."""
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
        """Return all complete events, in file order."""
        return [event for event, _ in self.read_from(0)]

    def read_from(self, offset: int) -> Iterator[tuple[Event, int]]:
        """Yield each complete event from byte `offset` on, with the offset after it. Stop at an incomplete line."""
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
                    continue  # partial line of a crashed writer


def _write_all(handle: int, data: bytes) -> None:
    """Write all of `data`. On a disk that fills up, `os.write` writes a part without an error and fails next time."""
    while data:
        data = data[os.write(handle, data) :]


def _ends_whole(handle: int) -> bool:
    """Return whether the file is empty or ends with a newline."""
    size = os.fstat(handle).st_size
    return size == 0 or os.pread(handle, 1, size - 1) == b"\n"
