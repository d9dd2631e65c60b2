"""Who holds a lock: one line for whoever is refused."""

from __future__ import annotations

import getpass
import os
import socket
import time


def holder_line() -> str:
    """This process, its user, machine and start of the lock: "process 12 of ann on node7 since 2026-01-31 12:00:00"."""
    return f"process {os.getpid()} of {user_name()} on {socket.gethostname()} since {time.strftime('%F %T')}"


def user_name() -> str:
    """The user's name; the number where the system has no name for it, as in a container with a user id of its own."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13, OSError since
        return f"user {os.getuid()}"
