"""Describe the holder of a lock in one line, for the error message of another process."""

from __future__ import annotations

import getpass
import os
import socket
import time


def holder_line() -> str:
    """Return this process, user, host and time, as "process 12 of ann on node7 since 2026-01-31 12:00:00"."""
    return f"process {os.getpid()} of {user_name()} on {socket.gethostname()} since {time.strftime('%F %T')}"


def user_name() -> str:
    """Return the user name, or "user <uid>" if the system has no name for the uid, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13, OSError since
        return f"user {os.getuid()}"
