"""Files that are either there and whole, or not there.

Every write goes to a temporary name beside the target, is flushed to the device, then renamed: a reader or a crash
never sees half a file. It costs one fsync of the file and one of its folder, so this is for records, not for logs
(`engine.store.events` has those). Atomic on one file system; on a shared one it holds as far as its rename does.
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

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_TEXTS = (*(os.strerror(number) for number in FULL), "os error 28", "os error 122")
"""How a full disk is told where no error number comes through: by Rust's libraries, and from another process."""


class DiskFullError(RuntimeError):
    """A disk of the sweep is full: nobody's fault but the disk's, and nothing is settled until there is room."""


def says_disk_full(problem: BaseException | str | None) -> bool:
    """Whether an error, or the reason of a failed stage, is that there is no room left."""
    if isinstance(problem, OSError) and problem.errno in FULL:
        return True
    return problem is not None and any(text in str(problem) for text in FULL_TEXTS)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step."""
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
    """Flush a folder's list of names, so that a rename inside it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file below `folder`, then the folders."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A scratch folder that becomes `target` when the block ends well, and vanishes when it does not.

    Where `target` already exists at the end (somebody else finished the same work), that one is kept.
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
    """Somebody else holds the lock; the message says who."""


@contextlib.contextmanager
def file_lock(path: Path, *, wait: bool = True, shared: bool = False, holder: str = "") -> Iterator[None]:
    """Hold an exclusive lock on `path`. The kernel drops it when the process dies, however it dies.

    `shared`: any number may hold it so, and nobody exclusively meanwhile. `holder` is written into the file for whoever
    is refused. With `wait=False` a held lock raises LockedElsewhereError.
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
