"""Example sweep files of the package, and the command `unlearn-sweep example` that prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearn_sweep.sweeps.file.problems import listing, near_miss

FOLDER = Path(__file__).parent
EXIT_REFUSED = 2


def examples() -> dict[str, Path]:
    """Return the file of every example by name, sorted by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}


def summary(file: Path) -> str:
    """Return the first sentence of the comment at the top of a sweep file."""
    words: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        words.append(line.removeprefix("# ").strip())
    return " ".join(words).partition(". ")[0].removesuffix(".")


def example_file(name: str) -> Path:
    """Return the file of an example.

    Raises:
        ValueError: unknown name; the message lists the valid names and the nearest one.
    """
    known = examples()
    if name in known:
        return known[name]
    nearest = near_miss(name, known)
    hint = f"; did you mean {nearest}?" if nearest else ""
    raise ValueError(f"no example {name!r}; there are {listing(known)}{hint}")


def chosen_file(file: Path | None, name: str | None) -> Path:
    """Return the sweep file selected by FILE or `--example NAME`.

    Raises:
        ValueError: both or neither are given, or the example is unknown.
    """
    if (file is None) == (name is None):
        raise ValueError("give a sweep file, or --example NAME (`unlearn-sweep example` lists them)")
    return example_file(name) if name is not None else file or Path()


def example(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The example to print; left out: list all of them.")
    ] = None,
) -> None:
    """Print a sweep file to start from, or list those that come with the package."""
    if name is None:
        width = max(map(len, examples()))
        for known, file in examples().items():
            typer.echo(f"{known:{width}}  {summary(file)}")
        return
    try:
        file = example_file(name)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_REFUSED) from None
    typer.echo(file.read_text(encoding="utf-8"), nl=False)
