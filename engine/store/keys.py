"""Content-based keys of stages and trials. For the version of the code behind a stage, see `engine.store.code`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import JsonValue


def canonical(value: Any) -> Any:
    """Normalise a value: round floats to 10 significant digits, sort mappings by key, make keys strings."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return value


def digest(value: Any) -> str:
    """Return 16 hex digits over the canonical JSON of a value.

    Raises:
        ValueError: The value contains NaN or an infinity.
    """
    blob = json.dumps(canonical(value), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(blob.encode()).hexdigest()[:16]


def plain(values: Mapping[str, object]) -> dict[str, JsonValue]:
    """Return inputs of a stage as JSON values: tuples as lists, keys as strings."""
    return json.loads(json.dumps(values))


def named_files(params: Any) -> dict[str, dict[str, str]]:
    """Return {"files": {path: content digest}} for the files named in parameters; empty if there are none.

    A string at any depth names a file if it is its absolute path, with or without the prefix "task:". As part of a
    stage's inputs, the digests change the stage's key when a file's content changes under the same name.
    """
    found = {path: _content(path, *_stamp(path)) for path in sorted(_paths(params))}
    return {"files": found} if found else {}


def _paths(value: Any) -> set[str]:
    if isinstance(value, str):
        path = value.removeprefix("task:")
        return {path} if path.startswith("/") and Path(path).is_file() else set()
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return {path for item in inner for path in _paths(item)}


def _stamp(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size


@cache
def _content(path: str, modified_ns: int, size: int) -> str:
    """Hash a file. Cached: the file is read again only if its modification time or size has changed."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
