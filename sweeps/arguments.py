"""Command-line arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MOST_TRIALS = 1_000_000
"""As `search.trials` of a sweep file allows."""
MOST_THREADS = 1024


def path_argument(text: str | Path) -> Path:
    """Return a path argument with `~` and variables expanded. The default of an argument arrives here as a path.

    An empty text is rejected: it comes from an unset shell variable and would otherwise mean the current folder.

    Raises:
        typer.BadParameter: The text is blank.
    """
    from unlearn_sweep.sweeps.file.paths import expanded

    return Path(expanded(given_text(str(text))))


def given_text(text: str | None) -> str:
    """Return the text of an option.

    Raises:
        typer.BadParameter: the text is missing or blank.
    """
    if text is None or not text.strip():
        raise typer.BadParameter("is empty; a variable of the shell may be unset")
    return text


def text_if_given(text: str | None) -> str | None:
    return None if text is None else given_text(text)


def texts_if_given(texts: list[str] | None) -> list[str] | None:
    return None if texts is None else [given_text(text) for text in texts]


File = Annotated[Path, typer.Argument(metavar="FILE", parser=path_argument, help="A sweep file (YAML).")]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", parser=path_argument, help="A sweep's folder: <storage>/<name>.")
]
FolderOrStorage = Annotated[
    Path, typer.Argument(metavar="[DIR]", parser=path_argument, help="A sweep's folder, or a storage: all its sweeps.")
]
Folders = Annotated[
    list[Path],
    typer.Argument(metavar="DIR...", parser=path_argument, help="A sweep's folder, or several: <storage>/<name>."),
]
Trials = Annotated[
    int | None, typer.Option(min=1, max=MOST_TRIALS, help="Trials in all, in place of the file's; more extend a sweep.")
]
Storage = Annotated[
    str | None,
    typer.Option(metavar="DIR", callback=text_if_given, help="Folder of all results, in place of the file's."),
]
Mirror = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        callback=text_if_given,
        help="Copy of what is finished (s3://bucket/runs, ...), in place of the file's.",
    ),
]
Concurrent = Annotated[int | None, typer.Option(min=1, max=MOST_TRIALS, help="Trials at once at most.")]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        envvar="RAY_ADDRESS",
        callback=text_if_given,
        help='A Ray cluster to join: "auto" or host:port.',
    ),
]
AcceptNewCode = Annotated[
    bool, typer.Option("--accept-new-code", help="Go on over changed code; each trial names the code that made it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[
    str | None, typer.Argument(metavar="NAME", callback=text_if_given, help="One entry in full; left out: all names.")
]
Everything = Annotated[bool, typer.Option("--all", help="Print every entry in full.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", metavar="FILE", parser=path_argument, help="A file with cards of your own; may be repeated."
    ),
]
"""Plugins of commands without a sweep file. A sweep's folder names its plugins, but reading it runs no code from it."""
