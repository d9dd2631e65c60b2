"""Everything that a command prints passes through here, with control characters escaped.

A name, a path, a model's answer or a plugin's text can therefore not control the terminal. `sweeps/screen.py` does the
same for what rich lays out. `tests/test_layout.py` checks that no other file prints.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from unlearn_sweep.engine.privacy.secrets import redact, visible, visible_json
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType


def print_line(text: str, *, end: str = "\n") -> None:
    """Print text to stdout."""
    typer.echo(f"{visible(text)}{end}", nl=False)


def print_error(text: str) -> None:
    """Print a line to stderr."""
    typer.echo(visible(text), err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON. Unknown types are printed as text; NaN and infinities raise ValueError."""
    print_json_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=str))


def print_json_text(text: str) -> None:
    """Print a JSON document. Control characters become JSON escapes, so the parsed value is the same."""
    typer.echo(visible_json(text))


def print_rich(renderable: RenderableType) -> None:
    """Print what rich lays out to stdout."""
    from unlearn_sweep.sweeps.screen import Screen

    Screen().print(renderable)


def print_long(renderable: RenderableType) -> None:
    """Print what rich lays out to stdout, through the user's pager if it is longer than the terminal."""
    from unlearn_sweep.sweeps.screen import Screen

    screen = Screen()
    if not screen.is_terminal or len(screen.render_lines(renderable)) < screen.size.height:
        screen.print(renderable)
        return
    os.environ.setdefault("LESS", "-R")  # shows colours
    with screen.pager(styles=True):
        screen.print(renderable)


def print_refusal(error: UserError, say: Callable[[str], None] = print_error) -> int:
    """Print an error of the user, message and advice without secrets. Return the exit status."""
    say(redact(error.text()))
    return error.status
