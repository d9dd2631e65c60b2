"""Command `compare-paper`: the numbers of a paper beside those of a sweep."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from unlearn_sweep.sweeps.arguments import AsJson, Folder, Plugins, text_if_given
from unlearn_sweep.sweeps.commands.sweep_folder import of_folder, use_given
from unlearn_sweep.sweeps.printing import print_json, print_long


def compare_paper(
    directory: Folder,
    paper: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", callback=text_if_given, help="File of sweeps/papers; else as the sweep's name or benchmark."
        ),
    ] = None,
    published_rows: Annotated[
        bool, typer.Option("--published-rows", help="Rows read from a folder are the published ones.")
    ] = False,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Lay each published number of a paper beside the sweep's own, and say whether they are comparable."""
    from unlearn_sweep.sweeps.paper.sweep import compare_paper as comparison
    from unlearn_sweep.sweeps.paper.view import render, render_superficial
    from unlearn_sweep.sweeps.screen import Screen

    use_given(plugin)
    found = of_folder(lambda folder: comparison(folder, paper, rows_are_published=published_rows), directory)
    if as_json:
        superficial = {name: asdict(own) for name, own in found.superficial.items()}
        numbers = [one.model_dump(mode="json") for one in found.compared]
        print_json({"paper": found.card.paper, "numbers": numbers, "superficial_forgetting": superficial})
    else:
        print_long(render(found.card, found.compared, Screen().width))
        if found.superficial:
            print_long(render_superficial(found.superficial))
