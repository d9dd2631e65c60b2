"""The sweep files that come with the package, by name, and `unlearn-sweep example`, which prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearn_sweep.sweeps.file.problems import listing, near_miss

FOLDER = Path(__file__).parent
EXIT_REFUSED = 2


def examples() -> dict[str, Path]:
    """Name and file of every example, sorted by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}


def summary(file: Path) -> str:
    """The first sentence of the comment a sweep file begins with."""
    words: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        words.append(line.removeprefix("# ").strip())
    return " ".join(words).partition(". ")[0].removesuffix(".")


def example_file(name: str) -> Path:
    """The file of an example.

    Raises:
        ValueError: unknown name; the message gives the names and the nearest one.
    """
    known = examples()
    if name in known:
        return known[name]
    nearest = near_miss(name, known)
    hint = f"; did you mean {nearest}?" if nearest else ""
    raise ValueError(f"no example {name!r}; there are {listing(known)}{hint}")


def chosen_file(file: Path | None, name: str | None) -> Path:
    """The sweep file that a command's FILE or `--example NAME` asks for.

    Raises:
        ValueError: both, neither, or an unknown example.
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
