"""Access to a sweep's mirror, a folder at an fsspec address. Writes are atomic: no partial file appears there.

An object store shows an object only once it is complete. On other file systems a file is written under a hidden
scratch name (leading dot) and then renamed. Mirrors have no locks: two drivers that use the same mirror detect each
other by a marker file that each refreshes (`presence.py`).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from unlearn_sweep.engine.mirror.plan import MARK, MODELS
from unlearn_sweep.engine.privacy.error_text import named_line
from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.stages.spread import spread
from unlearn_sweep.engine.store import durable
from unlearn_sweep.user_error import UserError

Given = TypeVar("Given")
Made = TypeVar("Made")

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss", "oci", "tos"})
RENAMES_OVER = frozenset({"file", "sftp", "ssh"})
"""Schemes whose rename replaces an existing file. Elsewhere the old file is removed first, so a reader may briefly find
no file."""
AT_ONCE = 8
"""Number of threads for parallel transfers."""


WITHOUT_IT = (
    "Fix it and rerun the command, or remove `mirror` from the sweep file: it does not change what the sweep computes "
    "and can be added back any time."
)


class MirrorError(UserError):
    """The mirror cannot be used."""

    advice = WITHOUT_IT


class Mirror:
    """The files below an fsspec address. File names are relative to it. Errors of the fsspec driver pass unchanged.

    `writer` identifies the writing driver and is part of each scratch file's name. If the driver is killed, its next
    run overwrites the scratch file that it left.
    """

    def __init__(self, uri: str, *, writer: str) -> None:
        from fsspec.core import url_to_fs

        self.uri = uri.rstrip("/")
        self.shown = redact(self.uri)
        self._is_object_store = urlsplit(uri).scheme in OBJECT_STORES
        self._renames_over = urlsplit(uri).scheme in RENAMES_OVER
        fs, root = url_to_fs(uri, skip_instance_cache=True)
        self._fs: Any = fs
        self._root = str(root).rstrip("/")
        self._writer = writer
        self._folders: set[str] = set()

    def listing(self, *folders: str) -> dict[str, int]:
        """Return the files below these folders ("" for all) with their size in bytes. A missing folder has no files."""
        self._fs.invalidate_cache()
        found: dict[str, int] = {}
        for folder in folders:
            for path, info in self._fs.find(self._at(folder), detail=True).items():
                if info.get("type") == "file":
                    found[self._inside(str(path)[len(self._root) + 1 :])] = int(info["size"] or 0)
        return found

    def _inside(self, name: str) -> str:
        """Return `name`. Raise MirrorError if fetching a file of that name could write outside the target folder."""
        if not is_plain_name(name):
            raise MirrorError(
                f"the mirror {self.shown} has an object {name!r}: its name points outside the folder or is no valid "
                f"file name. It is not fetched",
                advice="Delete it from the mirror, and check who can write to the mirror.",
            )
        return name

    def sweeps(self) -> list[str]:
        """Return the names of the sweeps in the mirror, sorted."""
        self._fs.invalidate_cache()
        try:
            entries = self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        names = {str(path).rstrip("/").rpartition("/")[2] for path in entries}
        return sorted(name for name in names if name != "store" and not name.startswith("."))

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if it does not exist."""
        try:
            return self._fs.cat_file(self._at(name))
        except FileNotFoundError:
            return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the content of several files by name, without the files that do not exist."""
        found = self.each(lambda name: (name, self.read(name)), names)
        return {name: data for name, data in found if data is not None}

    def write(self, name: str, data: bytes) -> None:
        """Create or replace a file atomically."""
        with self._whole(name) as path:
            self._fs.pipe_file(path, data)

    def put(self, name: str, source: Path) -> None:
        """Upload a local file atomically, without loading it into memory."""
        with self._whole(name) as path:
            self._fs.put_file(str(source), path)

    def get(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._fs.get_file(self._at(name), str(target))

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._at(name))

    def remove_model(self, key: str) -> None:
        """Delete a model, its completion mark first: an interrupted removal leaves nothing that looks complete."""
        self.remove(f"{MODELS}/{key}/{MARK}")
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._at(f"{MODELS}/{key}"), recursive=True)
        self._folders = set()

    def each(self, work: Callable[[Given], Made], items: Iterable[Given]) -> list[Made]:
        """Apply `work` to every item and return the results in order, in parallel if the fsspec driver is async."""
        hands = AT_ONCE if getattr(self._fs, "async_impl", False) else 1
        return side_by_side(work, list(items), hands)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextlib.contextmanager
    def _whole(self, name: str) -> Iterator[str]:
        """Yield the path to write to; the file appears under `name` once it is complete."""
        target = self._at(name)
        if self._is_object_store:
            yield target
            return
        folder, _, last = target.rpartition("/")
        if folder not in self._folders:
            self._fs.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        scratch = f"{folder}/.{last}.{self._writer}.part"
        try:
            yield scratch
            if not self._renames_over:
                self.remove(name)
            self._fs.mv(scratch, target)
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is re-raised; readers ignore scratch files
                self._fs.rm_file(scratch)
            raise


def is_plain_name(name: str) -> bool:
    """Return whether a mirror key is a printable relative path without empty, "." or ".." parts."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not any(part in ("", ".", "..") for part in parts)


def side_by_side(work: Callable[[Given], Made], items: list[Given], hands: int) -> list[Made]:
    """Apply `work` to every item in up to `hands` threads and return the results in order.

    After the first error no further item is started, and that error is raised. The threads are daemons, unlike those
    of an executor: a thread that hangs on a dead server does not keep the process alive.
    """
    if hands == 1 or len(items) < 2:
        return [work(item) for item in items]
    return spread(lambda item, _: work(item), items, range(hands))


def probe(mirror: Mirror) -> None:
    """Write, read and remove a small file to test the mirror. Raise MirrorError if any of these fails."""
    name, data = f".probe-{secrets.token_hex(8)}", b"written and removed by unlearn-sweep\n"
    try:
        mirror.write(name, data)
        same = mirror.read(name) == data
        mirror.remove(name)
    except Exception as error:  # each driver of fsspec has errors of its own
        raise MirrorError(f"cannot write to the mirror {mirror.shown}: {named_line(error)}") from error
    if not same:
        raise MirrorError(f"the mirror {mirror.shown} does not return what was written to it")


@contextlib.contextmanager
def errors_told() -> Iterator[None]:
    """Turn any error of the fsspec driver into a MirrorError, except a full local disk."""
    try:
        yield
    except MirrorError:
        raise
    except Exception as error:  # each driver of fsspec has errors of its own
        if durable.says_disk_full(error):
            raise
        raise MirrorError(f"the mirror cannot be used: {named_line(error)}") from error
