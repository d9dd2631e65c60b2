"""Names for things by their content: stage keys, trial keys, and the version of the code behind a stage."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

OWN_PACKAGES = ("unlearn_sweep",)
# These hold descriptions and ranges; what they point at is hashed instead, so that a new range keeps old results.
NOT_HASHED = ("catalog", "cards", "records")
# Python 3.11 loses count of its depth where two threads parse at once: "AST constructor recursion depth mismatch".
PARSING = threading.Lock()


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


@cache
def code_version(*modules: str) -> str:
    """Digest over the source of these modules and of all of our own modules they import, followed through."""
    files = sorted(_closure(modules).items())
    blob = "".join(f"{name}\n{Path(path).read_text()}\n" for name, path in files)
    return hashlib.sha256(blob.encode()).hexdigest()[:16]


def _closure(modules: Iterable[str]) -> dict[str, str]:
    """Module name to file, for `modules` and what they import from our own packages."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name.rpartition(".")[2] in NOT_HASHED:
            continue
        path = _source_of(name)
        if path is None:
            continue
        found[name] = path
        waiting.extend(_own_imports(path))
    return found


@cache
def _source_of(module: str) -> str | None:
    """The file of one of our own modules; None for a package or a name that is no module. Imports nothing."""
    package, _, rest = module.partition(".")
    found = importlib.util.find_spec(package)
    if not rest or found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0], *rest.split(".")).with_suffix(".py")
    return str(path) if path.is_file() else None


@cache
def _own_imports(path: str) -> tuple[str, ...]:
    """Names of our own modules that the source at `path` imports, `from package import module` included."""
    names: list[str] = []
    with PARSING:
        tree = ast.parse(Path(path).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.split(".")[0] in OWN_PACKAGES)
