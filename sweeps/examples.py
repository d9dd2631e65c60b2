"""Example sweep files of the package, and the command `unlearn-sweep example` that prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearn_sweep.sweeps.file.problems import listing, near_miss
from unlearn_sweep.sweeps.printing import print_line
from unlearn_sweep.user_error import UserError

FOLDER = Path(__file__).parent
LIST_THEM = "`unlearn-sweep example` lists the examples."


def examples() -> dict[str, Path]:
    """Return the file of every example by name, sorted by name; those of papers are named `papers/NAME`."""
    files = sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("papers/*.yaml")])
    return {file.relative_to(FOLDER).with_suffix("").as_posix(): file for file in files}


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
        UserError: unknown name; the message lists the valid names and the nearest one.
    """
    known = examples()
    if name in known:
        return known[name]
    nearest = near_miss(name, known)
    hint = f"; did you mean {nearest}?" if nearest else ""
    raise UserError(f"no example {name!r}; there are {listing(known)}{hint}", advice=LIST_THEM)


def chosen_file(file: Path | None, name: str | None) -> Path:
    """Return the sweep file selected by FILE or `--example NAME`.

    Raises:
        UserError: both or neither are given, or the example is unknown.
    """
    if (file is None) == (name is None):
        raise UserError("give a sweep file, or --example NAME", advice=LIST_THEM)
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
            print_line(f"{known:{width}}  {summary(file)}")
        return
    print_line(example_file(name).read_text(encoding="utf-8"), end="")
