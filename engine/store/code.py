"""Compute the version of the code behind a stage: one digest per module of this package that the stage uses.

A module's digest is taken over the normal form of its source (`engine.store.syntax`). Rewording a docstring keeps the
digest; changing a constant changes it. Imports are followed transitively from the given modules. Modules that compute
no number of a stage are skipped: the store, memory measurement, catalogs, cards and record formats. The caller passes
the modules that a card points to instead, so a new range in a card does not invalidate old results.

For a plugin, the digest covers its file without its cards. For a module of an installed package, imports within that
package are followed too.
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
from unlearn_sweep.engine.store.syntax import normal_form_of, statements

OWN = "unlearn_sweep"
NOT_FOLLOWED = ("catalog", "cards", "records")
"""Modules with these names are skipped: they contain only descriptions, ranges and formats."""
COMPUTE_NOTHING = (f"{OWN}.engine.store", f"{OWN}.engine.resources", f"{OWN}.user_error")
"""Modules and packages that are skipped: they store results, measure memory or end a command, and change no result."""
# Python 3.11 fails if two threads parse at the same time: "AST constructor recursion depth mismatch".
PARSING = threading.Lock()


def package_root() -> Path:
    """Return the folder of this package without importing it."""
    found = importlib.util.find_spec(OWN)
    if found is None or not found.submodule_search_locations:
        raise RuntimeError(f"the package {OWN} has no folder: its code cannot be named")
    return Path(found.submodule_search_locations[0])


def code_version(*modules: str) -> str:
    """Return 16 hex digits over the code of these modules and of everything they import transitively."""
    return version_of(code_digests(*modules))


def version_of(digests: Mapping[str, str]) -> str:
    """Return 16 hex digits over the digests of several modules."""
    blob = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(blob.encode()).hexdigest()[:16]


def code_digests(*modules: str) -> dict[str, str]:
    """Return the code digest of each of these modules and of each module they import transitively."""
    return dict(_digests(package_root(), tuple(sorted(set(modules)))))


def changed_modules(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the sorted names, without the package prefix, of modules that were added, removed or changed."""
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
    """Return the file of a module of this package; None for a package or a name that is not a module."""
    _, _, rest = module.partition(".")
    path = root.joinpath(*rest.split(".")).with_suffix(".py") if rest else None
    return path if path is not None and path.is_file() else None


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return `_parsed` of a file, cached for the life of the process because imported code does not change either."""
    return _parsed(path.read_text(encoding="utf-8"), OWN)


@cache
def _parsed(source: str, module: str) -> tuple[str, tuple[str, ...]]:
    """Return a module's digest and the names it imports from this package and from its own package.

    Each name in `from package import name` is included as `package.name`, because it may be a module.
    """
    with PARSING:
        tree = ast.parse(source)
        text = normal_form_of(tree)
    return hashlib.sha256(text.encode()).hexdigest()[:16], tuple(_own_imports(tree, module))


def _own_imports(tree: ast.Module, module: str) -> Iterable[str]:
    packages = {OWN, module.partition(".")[0]}
    for node in statements(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ImportFrom) and node.level and "." in module:
            base = resolve_name("." * node.level + (node.module or ""), module.rpartition(".")[0])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name != module and name.partition(".")[0] in packages)
