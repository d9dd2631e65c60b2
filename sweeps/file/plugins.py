"""Find and load the plugins of a sweep file and add them to the catalogs, before anything is looked up there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from unlearn_sweep.engine.samplers.catalog import SAMPLERS
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.methods.catalog import METHODS, WRAPPERS
from unlearn_sweep.plugins import FORM, Catalog, Named, PluginError, PluginFile, cards_of, plugin_file, use
from unlearn_sweep.sweeps.file.paths import absolute, nearest_path, readable
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import shown

CATALOGS: tuple[Catalog, ...] = (METHODS, WRAPPERS, METRICS, ATTACKS, BENCHMARKS, SAMPLERS)


def read_plugins(paths: Iterable[object], folder: Path, collector: ProblemCollector) -> tuple[PluginFile, ...]:
    """Load plugins and report mistakes. Relative paths start at `folder`.

    Afterwards, exactly the returned plugins are in use: those without mistakes.
    """
    use(())
    found: dict[PluginFile, tuple[Named, ...]] = {}
    for index, text in enumerate(paths):
        path = ("plugins", index)
        if not isinstance(text, str) or not collector.is_valid(path) or not readable(text, path, collector):
            continue
        try:
            file, cards = checked_plugin(absolute(text, folder))
            _refuse_twice(cards, found)
        except PluginError as error:
            where = absolute(text, folder)
            nearest = None if where.exists() else nearest_path(where)
            advice = None if where.exists() else "relative paths start at the folder of the sweep file"
            collector.add(path, str(error), given=shown(text), allowed="a Python file", nearest=nearest, advice=advice)
        else:
            found[file] = cards
    use(found)
    return tuple(found)


def use_plugins(paths: Iterable[Path]) -> tuple[PluginFile, ...]:
    """Use exactly these plugin files: add their cards to the catalogs, and no others.

    Raises:
        PluginError: A plugin is invalid. Lists all mistakes of the first such file.
    """
    use(())
    found: dict[PluginFile, tuple[Named, ...]] = {}
    for path in paths:
        file, cards = checked_plugin(path.resolve())
        _refuse_twice(cards, found)
        found[file] = cards
    use(found)
    return tuple(found)


def checked_plugin(path: Path) -> tuple[PluginFile, tuple[Named, ...]]:
    """Load a plugin and return it with its cards. Check that each card fits a catalog and that its target exists.

    Raises:
        PluginError: The plugin is invalid. Lists all of its mistakes.
    """
    file = plugin_file(path)
    cards = cards_of(file)
    problems = [problem for catalog in CATALOGS for problem in catalog.problems(cards)]
    problems += [problem for card in cards for problem in _of_card(card)]
    names = [card.name for card in cards]
    problems += [f"{name!r} is named twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise PluginError(f"{path}: " + "; ".join(problems))
    return file, cards


def _of_card(card: Named) -> list[str]:
    if not any(catalog.takes(card) for catalog in CATALOGS):
        return [f"{card.name!r} is a {type(card).__name__}, not a card; wanted: {FORM}"]
    target = getattr(card, "target", "")
    if ":" not in target:
        return [f'{card.name!r} has target {target!r}; wanted: target=f"{{__name__}}:NAME"']
    try:
        getattr(card, "load")()  # noqa: B009 - every card has it, and they share no class
    except Exception as error:  # third-party code may raise anything
        return [f"target {target.partition(':')[2]!r} of {card.name!r}: {type(error).__name__}: {error}"]
    return []


def _refuse_twice(cards: Iterable[Named], found: dict[PluginFile, tuple[Named, ...]]) -> None:
    taken = {card.name: file.path for file, others in found.items() for card in others}
    for card in cards:
        if card.name in taken:
            raise PluginError(f"{card.name!r} is in {taken[card.name]} too; take another name in one of them")
