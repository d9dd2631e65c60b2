"""A sweep's mirror: a place behind an fsspec address, and how files get there and back so that none is ever half.

Object stores show an object when it is whole. Everywhere else a file goes to a name with a dot before it, and is
renamed. Neither has locks: of two drivers over one mirror each sees the other by a mark that is kept fresh.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from unlearn_sweep.engine.mirror.plan import MARK, MODELS
from unlearn_sweep.engine.privacy import redact
from unlearn_sweep.engine.store import durable

Given = TypeVar("Given")
Made = TypeVar("Made")

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss", "oci", "tos"})
RENAMES_OVER = frozenset({"file", "sftp", "ssh"})
"""Here a rename replaces what is there. Elsewhere that is removed first, and a reader may find nothing for a moment."""
AT_ONCE = 8


class MirrorError(RuntimeError):
    """The mirror cannot be used. The message says why and what to do; nothing was started."""


class Mirror:
    """Files below an address. Names are relative to it; every error of the address's driver goes through.

    `writer` names whoever writes: a scratch file that its kill leaves is written over when it comes again.
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
        """Files below these folders ("": all), with their bytes. A folder that is not there has none."""
        self._fs.invalidate_cache()
        found: dict[str, int] = {}
        for folder in folders:
            for path, info in self._fs.find(self._at(folder), detail=True).items():
                if info.get("type") == "file":
                    found[self._inside(str(path)[len(self._root) + 1 :])] = int(info["size"] or 0)
        return found

    def _inside(self, name: str) -> str:
        """The name of a file in the mirror. MirrorError for one that would be written elsewhere when it is fetched."""
        if not is_plain_name(name):
            raise MirrorError(
                f"the mirror {self.shown} holds {name!r}, a name that leads out of its folder or cannot be a file's. "
                f"Nothing of it is fetched: remove that object there, and see who may write to the mirror"
            )
        return name

    def sweeps(self) -> list[str]:
        """Names of the sweeps in the mirror."""
        self._fs.invalidate_cache()
        try:
            entries = self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        names = {str(path).rstrip("/").rpartition("/")[2] for path in entries}
        return sorted(name for name in names if name != "store" and not name.startswith("."))

    def read(self, name: str) -> bytes | None:
        """Content of a file; None where it is not there."""
        try:
            return self._fs.cat_file(self._at(name))
        except FileNotFoundError:
            return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Content of several files; those that are not there are left out."""
        found = self.each(lambda name: (name, self.read(name)), names)
        return {name: data for name, data in found if data is not None}

    def write(self, name: str, data: bytes) -> None:
        """Replace a file in one step."""
        with self._whole(name) as path:
            self._fs.pipe_file(path, data)

    def put(self, name: str, source: Path) -> None:
        """The same with a file's content, which need not fit in memory."""
        with self._whole(name) as path:
            self._fs.put_file(str(source), path)

    def get(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._fs.get_file(self._at(name), str(target))

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._at(name))

    def remove_model(self, key: str) -> None:
        """Its mark first, so that a removal that is cut off leaves nothing that looks whole."""
        self.remove(f"{MODELS}/{key}/{MARK}")
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._at(f"{MODELS}/{key}"), recursive=True)
        self._folders = set()

    def each(self, work: Callable[[Given], Made], items: Iterable[Given]) -> list[Made]:
        """`work` on every item, several at once where the address's driver is made for it. In the items' order."""
        hands = AT_ONCE if getattr(self._fs, "async_impl", False) else 1
        return side_by_side(work, list(items), hands)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextlib.contextmanager
    def _whole(self, name: str) -> Iterator[str]:
        """Where to write, so that the file shows under its name when it is whole."""
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
            with contextlib.suppress(Exception):  # what went wrong is raised; the scratch file is passed over anyway
                self._fs.rm_file(scratch)
            raise


def is_plain_name(name: str) -> bool:
    """Whether a key of a mirror is a relative path of ordinary parts."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not any(part in ("", ".", "..") for part in parts)


def side_by_side(work: Callable[[Given], Made], items: list[Given], hands: int) -> list[Made]:
    """`work` on every item by so many threads. Raises the first error, and begins nothing more then.

    The threads are daemons, unlike those of an executor: one that hangs on a dead server does not keep the process.
    """
    if hands == 1 or len(items) < 2:
        return [work(item) for item in items]
    waiting, made, errors = deque(enumerate(items)), dict[int, Made](), list[BaseException]()

    def run() -> None:
        with contextlib.suppress(IndexError):
            while not errors:
                place, item = waiting.popleft()
                try:
                    made[place] = work(item)
                except BaseException as error:  # handed to the caller, who raises it
                    errors.append(error)

    threads = [threading.Thread(target=run, name="mirror-hand", daemon=True) for _ in range(min(hands, len(items)))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        waiting.clear()
    if errors:
        raise errors[0]
    return [made[place] for place in range(len(items))]


def probe(mirror: Mirror) -> None:
    """One real write, read and removal at the address. Raises MirrorError where any of it fails."""
    name, data = f".probe-{secrets.token_hex(8)}", b"written and removed by unlearn-sweep\n"
    try:
        mirror.write(name, data)
        same = mirror.read(name) == data
        mirror.remove(name)
    except Exception as error:  # each driver of fsspec has errors of its own
        raise MirrorError(
            f"the mirror {mirror.shown} cannot be written: {first_line(error)}\nMend it and run the command again, "
            f"or take the mirror out of the file: it is no part of what the sweep is, and may be put back any time"
        ) from error
    if not same:
        raise MirrorError(f"the mirror {mirror.shown} does not give back what was written to it")


@contextlib.contextmanager
def errors_told() -> Iterator[None]:
    """Whatever an address's driver raises becomes a MirrorError, but for a full disk here."""
    try:
        yield
    except MirrorError:
        raise
    except Exception as error:  # each driver of fsspec has errors of its own
        if durable.says_disk_full(error):
            raise
        raise MirrorError(f"the mirror cannot be used: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Kind and first line of an error, without secrets."""
    lines = redact(str(error)).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0][:300]}"
