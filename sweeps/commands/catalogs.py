"""Commands that list what a sweep file may name, print published numbers, and check a plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from unlearn_sweep.sweeps.arguments import AsJson, Plugins, path_argument, text_if_given
from unlearn_sweep.sweeps.printing import print_json, print_line, print_rich
from unlearn_sweep.user_error import EXIT_FAILED


def methods(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the unlearning methods and wrappers with their parameters."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.methods, plugin, as_json)


def evaluators(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the metrics, what they measure and which direction is better."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.evaluators, plugin, as_json)


def attacks(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the attacks with their threat models and parameters."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.attacks, plugin, as_json)


def benchmarks(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the benchmarks with their options."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.benchmarks, plugin, as_json)


def samplers(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the samplers of the search with their options."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.samplers, plugin, as_json)


def check_plugin(
    file: Annotated[Path, typer.Argument(metavar="FILE", parser=path_argument, help="A Python file with cards.")],
) -> None:
    """Run the contract checks of methods, metrics, attacks, benchmarks and samplers on the cards of a plugin."""
    from unlearn_sweep.sweeps.check_plugin import check_plugin as results

    failed = total = 0
    for result in results(file):
        print_line(result.line())
        total, failed = total + 1, failed + (result.reason is not None)
    print_line(f"{total - failed} of {total} checks passed")
    if failed:
        raise typer.Exit(EXIT_FAILED)


def papers(
    benchmark: Annotated[
        str | None, typer.Option(callback=text_if_given, help="Only benchmarks with this in their name.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(callback=text_if_given, help="Only methods with this in their name.")
    ] = None,
    paper: Annotated[
        str | None, typer.Option(callback=text_if_given, help="Only papers with this in their name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print published numbers, each with its source and a grade of how reliable it is."""
    from unlearn_sweep.evaluators.papers import published_numbers

    found = published_numbers(benchmark=benchmark, method=method, paper=paper)
    if as_json:
        print_json([number.model_dump() for number in found])
    else:
        from unlearn_sweep.sweeps.papers_view import render

        print_rich(render(found))


def _print_facts(listed: Callable[[], list[dict[str, Any]]], plugins: list[Path] | None, as_json: bool) -> None:
    """Print a catalog, including the cards of these plugins and of installed packages."""
    from unlearn_sweep.sweeps.file.plugins import use_plugins

    use_plugins(plugins or ())
    facts = listed()
    if as_json:
        print_json(facts)
    else:
        from unlearn_sweep.sweeps.listing_view import render

        print_rich(render(facts))
