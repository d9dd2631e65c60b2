"""Command-line arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXIT_FAILED = 1
EXIT_REFUSED = 2


def path_argument(text: str) -> Path:
    """Return a path argument with `~` and variables expanded.

    An empty text is rejected: it comes from an unset shell variable and would otherwise mean the current folder.

    Raises:
        typer.BadParameter: The text is blank.
    """
    from unlearn_sweep.sweeps.file.paths import expanded

    return Path(expanded(given_text(text)))


def given_text(text: str | None) -> str:
    """Return the text of an option.

    Raises:
        typer.BadParameter: The text is missing or blank.
    """
    if text is None or not text.strip():
        raise typer.BadParameter("is empty; a variable of the shell may be unset")
    return text


Folder = Annotated[
    Path, typer.Argument(metavar="DIR", parser=path_argument, help="A sweep's folder: <storage>/<name>.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
