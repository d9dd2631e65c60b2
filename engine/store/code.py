"""The version of the code behind a stage: one digest for each of our modules that take part in it.

A module counts by the normal form of its source (`engine.store.syntax`), so a reworded docstring is the same code and a
changed constant is not. From the modules that are named, imports are followed through, except into those that compute
no number of a stage: catalogs and cards (their targets are named instead, so that a new range keeps old results), the
store, and the counting of memory.

A plugin counts by its file without its cards, a module of an installed package by its own package's modules.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

from unlearn_sweep.engine.store.outside_code import outside_source, stable_name
from unlearn_sweep.engine.store.syntax import normal_form, without_type_checking

OWN = "unlearn_sweep"
NOT_FOLLOWED = ("catalog", "cards", "records")
"""Modules of these names hold descriptions, ranges and formats."""
COMPUTE_NOTHING = (f"{OWN}.engine.store", f"{OWN}.engine.resources")
"""Rooms whose code decides where a result is kept and how much memory it took, and not what it is."""
# Python 3.11 loses count of its depth where two threads parse at once: "AST constructor recursion depth mismatch".
PARSING = threading.Lock()


def package_root() -> Path:
    """The folder of our package. Imports nothing of it."""
    found = importlib.util.find_spec(OWN)
    if found is None or not found.submodule_search_locations:
        raise RuntimeError(f"the package {OWN} has no folder: its code cannot be named")
    return Path(found.submodule_search_locations[0])


def code_version(*modules: str) -> str:
    """16 hex digits over the code of these modules and of all of our own that they import, followed through."""
    return version_of(code_digests(*modules))


def version_of(digests: Mapping[str, str]) -> str:
    """16 hex digits over the digests of several modules."""
    blob = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(blob.encode()).hexdigest()[:16]


def code_digests(*modules: str) -> dict[str, str]:
    """Each of our modules that these take in, with the digest of its code."""
    return dict(_digests(package_root(), tuple(sorted(set(modules)))))


def changed_modules(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Modules that are new, gone or other code, by name without the package's, in order."""
    return sorted(
        name.removeprefix(f"{OWN}.") for name in before.keys() | now.keys() if before.get(name) != now.get(name)
    )


@cache
def _digests(root: Path, modules: tuple[str, ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if name.partition(".")[0] != OWN:
            text = outside_source(name)
            if text is not None:
                found[stable_name(name)], imported = _parsed(text, name)
                waiting.extend(imported)
            continue
        if not _is_followed(name):
            continue
        path = _source_of(root, name)
        if path is not None:
            found[name], imported = _read(path)
            waiting.extend(imported)
    return found


def _is_followed(module: str) -> bool:
    inside = any(module == room or module.startswith(f"{room}.") for room in COMPUTE_NOTHING)
    return not inside and module.rpartition(".")[2] not in NOT_FOLLOWED


def _source_of(root: Path, module: str) -> Path | None:
    """The file of one of our own modules; None for a package or a name that is no module."""
    _, _, rest = module.partition(".")
    path = root.joinpath(*rest.split(".")).with_suffix(".py") if rest else None
    return path if path is not None and path.is_file() else None


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """What `_parsed` says of a file, as it was when this process first asked: what is loaded does not change either."""
    return _parsed(path.read_text(encoding="utf-8"), OWN)


@cache
def _parsed(source: str, module: str) -> tuple[str, tuple[str, ...]]:
    """A module's digest, and what it imports of ours and of its own package, `from package import module` included."""
    with PARSING:
        text, tree = normal_form(source), ast.parse(source)
    return hashlib.sha256(text.encode()).hexdigest()[:16], tuple(_own_imports(tree, module))


def _own_imports(tree: ast.AST, module: str) -> Iterable[str]:
    packages = {OWN, module.partition(".")[0]}
    for node in without_type_checking(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ImportFrom) and node.level and "." in module:
            base = resolve_name("." * node.level + (node.module or ""), module.rpartition(".")[0])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name != module and name.partition(".")[0] in packages)
