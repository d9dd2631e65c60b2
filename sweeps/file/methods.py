"""Build the search space of each method: the defaults of its card, overridden by the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearn_sweep.engine.search_space import Dimension, Fixed, MethodSpace
from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.catalog import card
from unlearn_sweep.methods.composed_card import canonical_name
from unlearn_sweep.sweeps.file.composition import refusal
from unlearn_sweep.sweeps.file.dimensions import published, read_dimension
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, shown
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath

FORMS = "published (the method's own ranges), nothing (its defaults), or parameters with a value or a space each"


def read_spaces(methods: Any, epochs: Dimension | None, collector: ProblemCollector) -> tuple[MethodSpace, ...]:
    """Return the search space of every valid method in the file. Report mistakes.

    `epochs` is the sweep's `training.epochs`, fixed or searched. It replaces the default and range in a card; `epochs`
    given for a method take precedence over it.
    """
    if not isinstance(methods, dict):
        return ()
    spaces: list[MethodSpace] = []
    first: dict[str, str] = {}
    for name, value in methods.items():
        path = ("methods", name)
        found = refusal(name)
        if found is not None:
            collector.add(
                path,
                found.message,
                given=shown(name),
                allowed=found.allowed,
                nearest=found.nearest,
                advice=found.advice,
            )
            continue
        entry = card(canonical_name(name))
        if (same := first.setdefault(entry.name, name)) != name:
            collector.add(
                path, "named twice", given=shown(name), allowed="each method once", advice=f"{same} is the same"
            )
            continue
        space = read_space(entry, value, path, epochs, collector)
        if space is not None:
            spaces.append(space)
    return tuple(spaces)


def read_space(
    card: MethodCard, value: Any, path: KeyPath, epochs: Dimension | None, collector: ProblemCollector
) -> MethodSpace | None:
    """Return the search space of one method; None if the file has mistakes there. Report them."""
    if value is None or value == {}:
        return MethodSpace(method=card.name, params=_defaults(card, epochs))
    if value == "published":
        return MethodSpace(method=card.name, params=_published(card, epochs))
    if not isinstance(value, dict):
        collector.add(path, "of the wrong type", given=shown(value), allowed=FORMS)
        return None
    given = _given(card, value, path, collector)
    if not collector.is_valid(path):
        return None
    return MethodSpace(method=card.name, params={**_defaults(card, epochs), **given})


def _given(
    card: MethodCard, value: Mapping[str, Any], path: KeyPath, collector: ProblemCollector
) -> dict[str, Dimension]:
    """Return the dimensions that the file gives, by parameter name. Report mistakes."""
    names = [param.name for param in card.params]
    given: dict[str, Dimension] = {}
    for name, chosen in value.items():
        param = card.param(name)
        if param is None:
            collector.add_unknown((*path, name), f"unknown parameter of {card.name}", names, listing(names))
            continue
        if not collector.is_valid((*path, name)):
            continue
        dimension = read_dimension(param, chosen, (*path, name), collector)
        if dimension is not None:
            given[name] = dimension
    return given


def _defaults(card: MethodCard, epochs: Dimension | None) -> dict[str, Dimension]:
    return {param.name: _epochs(param, epochs) or Fixed(param.default) for param in card.params}


def _published(card: MethodCard, epochs: Dimension | None) -> dict[str, Dimension]:
    return {param.name: published(param) if (own := _epochs(param, epochs)) is None else own for param in card.params}


def _epochs(param: Param, epochs: Dimension | None) -> Dimension | None:
    """Return the sweep's number of epochs if `param` is "epochs", else None."""
    return epochs if param.name == "epochs" else None


def fixed_epochs(epochs: float | None) -> Dimension | None:
    """Return the sweep's number of epochs as a dimension. A whole number becomes an int."""
    return None if epochs is None else Fixed(int(epochs) if epochs.is_integer() else epochs)
