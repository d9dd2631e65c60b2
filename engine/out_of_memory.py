"""Detect out-of-memory errors of Python, the system, torch and Ray."""

from __future__ import annotations

import errno

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
