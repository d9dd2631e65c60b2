"""Memory that gave out: known wherever it happened, and the room in which a stage is then tried by itself."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from unlearn_sweep.engine.store import durable

ERRORS = ("MemoryError", "OutOfMemoryError")
"""Python's own; torch's for an accelerator, and Ray's for a machine, which are of the same name."""
TEXTS = (
    "MemoryError",  # the same, in the text of another error
    "out of memory",  # CUDA's
    "can't allocate memory",  # torch's allocator on a CPU
    "Cannot allocate memory",  # the system's
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
    "running low on memory",  # Ray, which ended a process before the system did
)


def says_out_of_memory(problem: BaseException | str | None) -> bool:
    """Whether an error, or the reason of a failed stage, is that memory gave out.

    The kernel's own end of a process for its memory leaves no word: that is a lost process like any other.
    """
    if problem is None:
        return False
    if isinstance(problem, OSError) and problem.errno == errno.ENOMEM:
        return True
    kinds = {kind.__name__ for kind in type(problem).__mro__}
    return not kinds.isdisjoint(ERRORS) or any(text in str(problem) for text in TEXTS)


def shortage_told(problem: BaseException) -> str | None:
    """The one line of an error that says so: Ray's goes on for pages. None where it says nothing of the kind."""
    if not says_out_of_memory(problem):
        return None
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return next((line for line in lines if any(text in line for text in TEXTS)), lines[0])


class Room:
    """Where the stages of one sweep work, on whatever machine: side by side, or one alone.

    `make_room` is called by one who is alone, before it begins: whoever keeps something loaded lets go of it.

    A waiting stage holds the door, so that those inside leave and nobody new comes in. The kernel opens it again when
    its holder dies. A stage's own lock is taken inside the room and given back with it, so nobody waits in a circle.
    """

    def __init__(self, sweep: Path, make_room: Callable[[], None] = lambda: None) -> None:
        self._door = sweep / "locks" / "door"
        self._room = sweep / "locks" / "room"
        self._make_room = make_room
        self._mine = threading.local()

    @contextlib.contextmanager
    def enter(self, *, alone: bool = False) -> Iterator[None]:
        """Work in the room. A stage within a stage is in it already."""
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
