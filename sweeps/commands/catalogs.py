"""Commands that list what a sweep file may name, print published numbers, and check a plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from unlearn_sweep.sweeps.arguments import AsJson, Everything, Name, Plugins, path_argument, text_if_given
from unlearn_sweep.sweeps.printing import print_json, print_line, print_long
from unlearn_sweep.user_error import EXIT_FAILED, UserError


def methods(name: Name = None, everything: Everything = False, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the unlearning methods and wrappers with their parameters."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.methods, name, plugin, everything=everything, as_json=as_json)


def evaluators(
    name: Name = None, everything: Everything = False, plugin: Plugins = None, as_json: AsJson = False
) -> None:
    """List the metrics, what they measure and which direction is better."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.evaluators, name, plugin, everything=everything, as_json=as_json)


def attacks(name: Name = None, everything: Everything = False, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the attacks with their threat models and parameters."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.attacks, name, plugin, everything=everything, as_json=as_json)


def benchmarks(
    name: Name = None, everything: Everything = False, plugin: Plugins = None, as_json: AsJson = False
) -> None:
    """List the benchmarks with their options."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.benchmarks, name, plugin, everything=everything, as_json=as_json)


def samplers(
    name: Name = None, everything: Everything = False, plugin: Plugins = None, as_json: AsJson = False
) -> None:
    """List the samplers of the search with their options."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.samplers, name, plugin, everything=everything, as_json=as_json)


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
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """Print published numbers, each with its source and a grade of how reliable it is."""
    from unlearn_sweep.evaluators.papers import published_numbers

    found = published_numbers(benchmark=benchmark, method=method, paper=paper)
    if as_json:
        print_json([number.model_dump() for number in found])
    else:
        from unlearn_sweep.sweeps.papers_view import render, render_names
        from unlearn_sweep.sweeps.screen import Screen

        chosen = everything or any(text is not None for text in (benchmark, method, paper))
        print_long(render(found, Screen().width) if chosen else render_names(found))


def _print_facts(
    listed: Callable[[], list[dict[str, Any]]],
    name: str | None,
    plugins: list[Path] | None,
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """Print a catalog, including the cards of these plugins and of installed packages: names, one entry, or all."""
    from unlearn_sweep.sweeps.file.plugins import use_plugins

    use_plugins(plugins or ())
    facts = listed()
    if name is not None:
        facts = [_entry(facts, name)]
    if as_json:
        print_json(facts)
        return
    from unlearn_sweep.sweeps.listing_view import render, render_names

    print_long(render(facts) if everything or name is not None else render_names(facts))


def _entry(facts: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the entry with this name.

    Raises:
        UserError: There is none; the message has the nearest name.
    """
    from unlearn_sweep.sweeps.file.problems import near_miss

    found = next((entry for entry in facts if entry["name"] == name), None)
    if found is not None:
        return found
    nearest = near_miss(name, [str(entry["name"]) for entry in facts])
    hint = f"; did you mean {nearest}?" if nearest else ""
    raise UserError(f"nothing here is called {name!r}{hint}", advice="Without a name, all names are listed.")
