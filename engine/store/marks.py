"""Record size and hash of a finished stage's files in its stage.json, to detect damage when the files are used.

The size is checked every time. The content is hashed once per process, and again if the file's modification time, size
or inode has changed. Hashing a model takes about as long as reading it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from unlearn_sweep.engine.store.sealed import FileMark


def mark_files(folder: Path, *, content: bool = True) -> dict[str, FileMark]:
    """Return a mark for each file below `folder`, keyed by relative path. Without `content`, record sizes only."""
    return {path.relative_to(folder).as_posix(): _mark(path, content) for path in sorted(_files(folder))}


def first_damage(folder: Path, marks: Mapping[str, FileMark]) -> str | None:
    """Return path and reason of the first file that does not match its mark; None if all files match."""
    for name, mark in marks.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != mark.bytes:
                return f"{path}: {size} bytes instead of {mark.bytes}"
            if mark.sha256 is not None and _content_of(path) != mark.sha256:
                return f"{path}: its content is not what was written"
        except OSError as error:
            return f"{path}: {error.strerror or error}"
    return None


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _mark(path: Path, content: bool) -> FileMark:
    return FileMark(bytes=path.stat().st_size, sha256=_content_of(path) if content else None)


def _content_of(path: Path) -> str:
    status = path.stat()
    return _hashed(str(path), status.st_mtime_ns, status.st_size, status.st_ino)


@cache
def _hashed(path: str, modified_ns: int, size: int, inode: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
