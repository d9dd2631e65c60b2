"""Size and content of a finished stage's files, kept in its stage.json, so that damage is seen when they are used.

The size is looked at each time. The content is read once in a process and again where the file's time, size or inode
has changed: a model is hashed about as fast as it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from unlearn_sweep.engine.store.records import FileMark


def mark_files(folder: Path, *, content: bool = True) -> dict[str, FileMark]:
    """A mark for each file below `folder`, by its path relative to it; of its size alone without `content`."""
    return {path.relative_to(folder).as_posix(): _mark(path, content) for path in sorted(_files(folder))}


def first_damage(folder: Path, marks: Mapping[str, FileMark]) -> str | None:
    """The first of these files that is not as it was marked, and why; None where all are, or none is marked."""
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
