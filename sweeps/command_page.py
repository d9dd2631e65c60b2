"""The page docs/commands.md: `python -m unlearn_sweep.sweeps.command_page > docs/commands.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup

HEAD = """# Commands

This page is written from the command line itself by `make docs`. `unlearn-sweep COMMAND --help` prints the same.

Every command ends with status 0 (success), 1 (failure), 2 (a mistake in the request; nothing was started) or 128 and
the number of the signal that stopped it. A mistake is one message with what to do, and no traceback.
"""


def render() -> str:
    """The whole page as Markdown."""
    from unlearn_sweep.sweeps.cli import app

    group = typer.main.get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError("the command line is not a group of commands")
    context = typer.Context(group, info_name="unlearn-sweep")
    names = group.list_commands(context)
    parts = [HEAD, *(_section(name, group.get_command(context, name), context) for name in names)]
    return "\n".join(parts)


def _section(name: str, command: object, parent: typer.Context) -> str:
    if not isinstance(command, TyperCommand):
        raise TypeError(f"{name} is not a command of typer")
    context = typer.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context)).replace("{", "").replace("}", "")
    lines = [f"## {name}", "", f"`unlearn-sweep {name} {usage}`", "", _text(command.help or ""), ""]
    rows = list(_rows(command, context))
    if rows:
        lines += ["| argument or option | meaning |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _rows(command: TyperCommand, context: typer.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[0] != "--help":
            yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"


def _text(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render())
