"""Return the source of code outside this package: plugin files and modules of installed packages."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from unlearn_sweep.plugins import MODULE_PREFIX, loaded_source

CARDS = frozenset({"CARD", "CARDS"})


def outside_source(module: str) -> str | None:
    """Return the source of a module; None if it has no Python source or is not a module.

    The source of a plugin is returned without its cards. So, as for built-in methods, a new range or summary in a card
    does not invalidate old results.
    """
    if module.startswith(MODULE_PREFIX):
        text = loaded_source(module)
        return None if text is None else _without_cards(text)
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # the last part of `from package import function` is not a module
        return None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return None
    return Path(found.origin).read_text(encoding="utf-8")


def stable_name(module: str) -> str:
    """Return a plugin's name without its content digest, which any docstring edit changes. Keep other names."""
    if not module.startswith(MODULE_PREFIX):
        return module
    return "plugin " + module.removeprefix(MODULE_PREFIX).rpartition("_")[0]


def _without_cards(text: str) -> str:
    lines = text.split("\n")
    for node in reversed(ast.parse(text).body):
        if any(isinstance(target, ast.Name) and target.id in CARDS for target in _targets(node)):
            del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines)


def _targets(node: ast.stmt) -> list[ast.expr]:
    """Return the targets of an assignment; empty for other statements."""
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []
