"""The lock under which a stage is retried alone after it ran out of memory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from unlearn_sweep.engine.store import durable


class ExclusiveStageLock:
    """Read-write lock over the stages of a sweep, on all machines: stages share it, a retry after OOM has it alone.

    A stage that enters alone then calls `make_room`, which unloads cached models.

    Every stage acquires the door lock first, then the room lock. A stage that enters alone keeps the door lock until it
    leaves, so running stages finish and no new one starts. The kernel releases both locks if the process dies. A
    stage acquires the lock of its own key after the room lock and releases it before, so deadlocks are impossible.
    """

    def __init__(self, sweep: Path, make_room: Callable[[], None] = lambda: None) -> None:
        self._door = sweep / "locks" / "door"
        self._room = sweep / "locks" / "room"
        self._make_room = make_room
        self._mine = threading.local()

    @contextlib.contextmanager
    def enter(self, *, alone: bool = False) -> Iterator[None]:
        """Hold the lock during the block, exclusively if `alone`. Nested calls in the same thread do nothing."""
        if getattr(self._mine, "inside", False):
            yield
            return
        with contextlib.ExitStack() as stay:
            with contextlib.ExitStack() as door:
                door.enter_context(durable.file_lock(self._door))
                stay.enter_context(durable.file_lock(self._room, shared=not alone))
                if alone:
                    stay.push(door.pop_all())
            stay.callback(setattr, self._mine, "inside", False)
            self._mine.inside = True
            if alone:
                self._make_room()
            yield
