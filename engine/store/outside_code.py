"""The source of code that is not ours: a plugin's file, and the modules of an installed package."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from unlearn_sweep.plugins import MODULE_PREFIX, loaded_source

CARDS = frozenset({"CARD", "CARDS"})


def outside_source(module: str) -> str | None:
    """The source of a module as it is loaded; None for one that has none, or that is no module.

    Of a plugin without its cards: a new range or summary keeps old results, as for what is built in.
    """
    if module.startswith(MODULE_PREFIX):
        text = loaded_source(module)
        return None if text is None else _without_cards(text)
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # `from package import function` names no module
        return None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return None
    return Path(found.origin).read_text(encoding="utf-8")


def stable_name(module: str) -> str:
    """A plugin's name without the digest of its text, which a docstring changes; other names as they are."""
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
    """What an assignment assigns to; empty for other statements."""
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []
