"""Names for things by their content: stage keys, trial keys. The code behind a stage: `engine.store.code`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def canonical(value: Any) -> Any:
    """The same value for the same meaning: floats at 10 significant digits, whole floats as they are, keys as text."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return value


def digest(value: Any) -> str:
    """16 hex digits over the canonical JSON of a value. NaN and infinities raise ValueError: they name nothing."""
    blob = json.dumps(canonical(value), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(blob.encode()).hexdigest()[:16]


def named_files(params: Any) -> dict[str, dict[str, str]]:
    """{"files": {path: content digest}} of the files that parameters name by whole path, alone or behind "task:", at
    any depth; empty where they name none. So a stage knows a file that changed under its name.
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
    """Read again only where the file's time or size has changed."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
