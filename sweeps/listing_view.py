"""Render catalogs for the terminal: one block per entry, with its parameters as a table."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

SHOWN_APART = ("name", "summary", "params")


def render(facts: list[dict[str, Any]]) -> RenderableType:
    """Render every entry: name and summary, other facts, then parameters."""
    return Group(*(_entry(entry) for entry in facts))


def render_names(facts: list[dict[str, Any]]) -> RenderableType:
    """Render one line per entry: name and summary."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for entry in facts:
        table.add_row(Text(str(entry["name"])), Text(str(entry["summary"])))
    return Group(table, Text(f"{len(facts)} entries; NAME prints one in full with its parameters, --all prints all."))


def _entry(entry: dict[str, Any]) -> RenderableType:
    head = Text.assemble((str(entry["name"]), "bold"), f"  {entry['summary']}")
    others = {key: value for key, value in entry.items() if key not in SHOWN_APART and value not in ("", [], None)}
    parts: list[RenderableType] = [
        head,
        Text("  " + "; ".join(f"{key}: {_words(value)}" for key, value in others.items())),
    ]
    if entry.get("params"):
        parts.append(Padding(_params(entry["params"]), (0, 0, 0, 2)))
    return Group(*parts, Text(""))


def _params(params: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("parameter", "default", "searched or takes", "meaning"):
        table.add_column(title, overflow="fold")  # on a narrow terminal a long value goes on in the next line
    for param in params:
        default = "needed" if param.get("required") else _words(param["default"])
        table.add_row(param["name"], default, _takes(param), param["summary"])
    return table


def _takes(param: dict[str, Any]) -> str:
    """Return the search range of a method parameter, or the types or values that an option accepts."""
    if "scale" in param:
        return f"{param['scale']} {_words(param['range'])}" if param["range"] is not None else "not searched"
    takes = param["takes"]
    if "enum" in takes:
        return _words(takes["enum"])
    options = takes.get("anyOf", [takes])
    return " or ".join(str(option.get("type", _words(option.get("enum", "")))) for option in options)


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value)
    return "" if value is None else str(value)
