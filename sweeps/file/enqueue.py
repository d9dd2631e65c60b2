"""Settings that the user wants to have tried: `search.enqueue` as the first trials, the command `enqueue` at any time.

Each entry names one method and values of its searched parameters. The sampler chooses those that an entry leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.search_settings import Configuration
from unlearn_sweep.engine.search_space import Choice, Dimension, Fixed, MethodSpace, holds
from unlearn_sweep.methods.composed_card import canonical_name
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import SpecError, shown
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath, parse_document, read_document

PATH: KeyPath = ("search", "enqueue")
COMMAND = "enqueue"

Entry = Mapping[str, Mapping[str, Any] | None]


def enqueued_settings(entries: Sequence[Entry]) -> list[Configuration]:
    """Return checked entries as settings of `SearchSettings.first`, in order and without repetitions."""
    found: list[Configuration] = []
    for entry in entries:
        (name, params), *_ = entry.items()
        values = {key: _number(value) for key, value in (params or {}).items()}
        setting = Configuration(method=canonical_name(name), params=values)
        if setting not in found:
            found.append(setting)
    return found


def check_enqueue(entries: Sequence[Entry], spaces: Sequence[MethodSpace], collector: ProblemCollector) -> None:
    """Check `search.enqueue`."""
    check_settings(entries, PATH, spaces, collector)


def check_settings(
    entries: Sequence[Entry], path: KeyPath, spaces: Sequence[MethodSpace], collector: ProblemCollector
) -> None:
    """Check that every entry names one method of the file, and values that its search space holds."""
    if not collector.is_valid(path, ("methods",)):
        return
    by_method = {space.method: space for space in spaces}
    for place, entry in enumerate(entries):
        _check_entry(entry, (*path, place), by_method, collector)


def _check_entry(
    entry: Entry, path: KeyPath, by_method: Mapping[str, MethodSpace], collector: ProblemCollector
) -> None:
    if len(entry) != 1:
        advice = "write each setting as an entry of its own: - npo: {beta: 0.1}"
        collector.add(path, "not one method", given=", ".join(entry) or "nothing", allowed="one method", advice=advice)
        return
    (name, params), *_ = entry.items()
    space = by_method.get(_canonical(name))
    if space is None:
        allowed = f"a method of this sweep: {', '.join(by_method)}"
        collector.add_unknown((*path, name), "not a method of this sweep", list(by_method), allowed)
        return
    for key, value in (params or {}).items():
        _check_value(space, key, _number(value), (*path, name, key), collector)


def checked_setting(text: str, spaces: Sequence[MethodSpace]) -> Configuration:
    """Return the one setting in a YAML text: `{npo: {beta: 0.1}}` as in a sweep file, or `{method: npo, beta: 0.1}`.

    Raises:
        SpecError: it is not a setting of these search spaces; the error lists all mistakes.
    """
    document = parse_document(text, COMMAND)
    collector = ProblemCollector(document)
    data = document.data
    entry: Any = {data: None} if isinstance(data, str) else data
    if isinstance(entry, dict) and isinstance(entry.get("method"), str):
        entry = {entry["method"]: {name: value for name, value in entry.items() if name != "method"}}
    if not isinstance(entry, dict) or not all(isinstance(one, dict | None) for one in entry.values()):
        advice = "write a method with values of its parameters: {npo: {beta: 0.1}}"
        collector.add((), "not a setting", given=shown(data), allowed="one method", advice=advice)
    else:
        _check_entry(entry, (), {space.method: space for space in spaces}, collector)
    if collector.problems:
        raise SpecError(COMMAND, collector.problems)
    return enqueued_settings([entry])[0]


def _check_value(space: MethodSpace, name: str, value: Any, path: KeyPath, collector: ProblemCollector) -> None:
    dimension = space.params.get(name)
    if dimension is None:
        names = list(space.params)
        collector.add_unknown(path, f"not a parameter of {space.method}", names, ", ".join(names))
    elif not holds(dimension, value):
        advice = "widen the range under methods, or change the value"
        collector.add(path, "outside the search space", given=shown(value), allowed=_shown(dimension), advice=advice)


def check_same_as_begun(entries: Sequence[Entry], sweep: Path, collector: ProblemCollector) -> None:
    """Reject changed entries for a sweep that has started: its first settings are fixed, so they have no effect."""
    if not (sweep / "spec.lock.yaml").exists():
        return
    try:
        search = read_document(sweep / "spec.yaml").data.get("search")
    except SpecError:
        return
    before = (search.get("enqueue") or []) if isinstance(search, dict) else []
    if before != [dict(entry) for entry in entries]:
        message = f"{sweep} has already started, so its first settings are fixed"
        advice = "give this sweep another name: in the same storage it reuses every finished stage"
        collector.add(PATH, message, given=shown(len(entries)), allowed="the same as at its first start", advice=advice)


def _canonical(name: str) -> str:
    try:
        return canonical_name(name)
    except (KeyError, ValueError):
        return name


def _number(value: Any) -> Any:
    """Return a number that YAML reads as text (1e-5) as a number."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _shown(dimension: Dimension) -> str:
    match dimension:
        case Fixed(value=value):
            return f"{value}, which methods fixes"
        case Choice(values=values):
            return ", ".join(map(str, values))
    return f"{dimension.low:g} to {dimension.high:g}"
