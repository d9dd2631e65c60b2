"""The error that says that a process was lost, which is no fault of the work it did."""

from __future__ import annotations


class ProcessLostError(RuntimeError):
    """The process that ran a stage was killed, or its machine was lost. The stage itself is not at fault."""
