"""Atomic file writes and file locks: a file is either complete or absent.

Every write goes to a temporary file in the target's folder, is flushed to the device and then renamed. A reader never
sees a partial file, and a crash never leaves one. A write costs one fsync of the file and one of its folder, so use it
for records, not for logs (see `engine.store.events`). On a network file system, a write is atomic only if that file
system's rename is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unlearn_sweep.user_error import EXIT_FAILED, UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_TEXTS = (*(os.strerror(number) for number in FULL), "os error 28", "os error 122")
"""Texts of a full-disk error that arrives without an errno: from Rust libraries or from another process."""


class DiskFullError(UserError):
    """A disk of the sweep is full. The affected trial is not settled, because the error is not its fault."""

    status = EXIT_FAILED


def says_disk_full(problem: BaseException | str | None) -> bool:
    """Return whether an error, or the reason of a failed stage, is a full disk."""
    if isinstance(problem, OSError) and problem.errno in FULL:
        return True
    return problem is not None and any(text in str(problem) for text in FULL_TEXTS)


def write_bytes(path: Path, data: bytes) -> None:
    """Atomically replace the content of `path` by `data`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sync_folder(folder: Path) -> None:
    """Flush a folder's directory entries, so that a rename inside it survives a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file below `folder`, then `folder` itself."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a scratch folder. Rename it to `target` if the block succeeds; delete it if the block raises.

    If `target` exists by then, because another process finished the same work, the existing folder is kept.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    scratch.mkdir()
    try:
        yield scratch
        sync_tree(scratch)
        if not target.exists():
            with contextlib.suppress(FileExistsError):
                scratch.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class LockedElsewhereError(RuntimeError):
    """Another process holds the lock; the message names the holder."""


@contextlib.contextmanager
def file_lock(path: Path, *, wait: bool = True, shared: bool = False, holder: str = "") -> Iterator[None]:
    """Hold a lock on `path`. The kernel releases it when the process dies, however it dies.

    Args:
        path: The lock file; created if missing.
        wait: Block until the lock is free instead of raising.
        shared: Take a shared lock instead of an exclusive one.
        holder: Text to write into the file; becomes the message of LockedElsewhereError in other processes.

    Raises:
        LockedElsewhereError: `wait` is False and another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise LockedElsewhereError(file.read().strip() or "another process") from None
        if holder:
            file.seek(0)
            file.truncate()
            file.write(holder)
            file.flush()
        yield
