"""Detect out-of-memory errors, and provide the lock under which a stage is retried alone after one."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from unlearn_sweep.engine.store import durable

ERRORS = ("MemoryError", "OutOfMemoryError")
"""Names of the error classes: Python's MemoryError; OutOfMemoryError of torch (accelerator) and of Ray (host)."""
TEXTS = (
    "MemoryError",  # Python's, in the text of another error
    "out of memory",  # CUDA
    "can't allocate memory",  # torch's CPU allocator
    "Cannot allocate memory",  # the operating system
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
    "running low on memory",  # Ray, when it kills a process before the kernel does
)


def says_out_of_memory(problem: BaseException | str | None) -> bool:
    """Return whether an error, or the reason of a failed stage, means out of memory.

    The kernel's OOM killer leaves no message, so its kills count as lost processes, not as out of memory.
    """
    if problem is None:
        return False
    if isinstance(problem, OSError) and problem.errno == errno.ENOMEM:
        return True
    kinds = {kind.__name__ for kind in type(problem).__mro__}
    return not kinds.isdisjoint(ERRORS) or any(text in str(problem) for text in TEXTS)


def shortage_message(problem: BaseException) -> str | None:
    """Return the line of an out-of-memory error that says so (Ray's text is pages long), or None for other errors."""
    if not says_out_of_memory(problem):
        return None
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return next((line for line in lines if any(text in line for text in TEXTS)), lines[0])


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
