"""Turn pydantic's validation errors into problems with line, allowed values, nearest name and advice."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from unlearn_sweep.sweeps.file.file_schema import MINIMUM_PATTERN, NAME_PATTERN
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown
from unlearn_sweep.sweeps.file.units import plain_number, unit_of
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath, has

PATTERNS = {
    NAME_PATTERN: "1 to 80 letters, digits, dots, dashes and underscores, a letter or digit first",
    MINIMUM_PATTERN: 'text such as ">= 0.5"',
}
WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list: [a, b]",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "none_required": "null",
    "finite_number": "a finite number",
}
BOUNDS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}


def report(
    error: ValidationError,
    model: type[BaseModel],
    value: Any,
    path: KeyPath,
    collector: ProblemCollector,
    *,
    also: Sequence[str] = (),
) -> list[KeyPath]:
    """Add a problem for each place with an error. Return those places, relative to `value`.

    `also` are keys that `value` may have beside the model's fields, because they are read apart.
    """
    places: dict[KeyPath, list[Any]] = {}
    for entry in error.errors(include_url=False):
        places.setdefault(_place(entry, value), []).append(entry)
    for place, entries in places.items():
        _report_place(place, entries, model, path, collector, also)
    return list(places)


def without(value: Any, broken: Iterable[KeyPath]) -> Any:
    """Return a copy of `value` without these places. For a broken list item, the whole list is left out."""
    clean = copy.deepcopy(value)
    for place in broken:
        place = _up_to_key(place)
        parent = clean
        for part in place[:-1]:
            parent = parent.get(part) if isinstance(parent, dict) else None
        if place and isinstance(parent, dict):
            parent.pop(place[-1], None)
    return clean


def _up_to_key(place: KeyPath) -> KeyPath:
    for index, part in enumerate(place):
        if isinstance(part, int):
            return place[:index]
    return place


def _place(entry: Any, value: Any) -> KeyPath:
    """Return the place of an error in the file. Pydantic's location also contains names of union members."""
    place: list[str | int] = []
    for part in entry["loc"]:
        if not has(value, part):
            return (*place, part) if entry["type"] == "missing" else tuple(place)
        place.append(part)
        value = value[part]
    return tuple(place)


def _report_place(
    place: KeyPath,
    entries: list[Any],
    model: type[BaseModel],
    base: KeyPath,
    collector: ProblemCollector,
    also: Sequence[str],
) -> None:
    path, first = (*base, *place), entries[0]
    kind, given = first["type"], first["input"]
    if kind == "extra_forbidden":
        _report_unknown(path, place, model, collector, also if len(place) == 1 else ())
    elif kind == "missing":
        collector.add(path, "missing", advice="add it")
    elif kind == "rule":
        found = first["ctx"]
        collector.add(path, found["message"], given=shown(given), allowed=found["allowed"], advice=found["advice"])
    elif kind == "value_error":
        collector.add(path, str(first["ctx"]["error"]), given=shown(given) if not isinstance(given, dict) else None)
    else:
        _report_value(path, entries, given, collector)


def _report_unknown(
    path: KeyPath, place: KeyPath, model: type[BaseModel], collector: ProblemCollector, also: Sequence[str]
) -> None:
    """Report an unknown key. At the top level of the file, also look for similar keys one level down."""
    names = [*keys_of(model, place[:-1]), *also]
    given = _name(path)
    below = {name: part for part in names for name in keys_of(model, (*place[:-1], part))}
    if len(path) == 1 and not near_miss(given, names) and (found := near_miss(given, below)):
        advice = f"write it under {below[found]}: {found}"
        nearest = f"{below[found]}.{found}"
        collector.add(path, "unknown key", given=shown(given), allowed=listing(names), nearest=nearest, advice=advice)
        return
    collector.add_unknown(path, "unknown key", names, listing(names))


def _report_value(path: KeyPath, entries: list[Any], given: Any, collector: ProblemCollector) -> None:
    allowed = " or ".join(dict.fromkeys(text for text in map(_wanted, entries) if text))
    if allowed == "text" and len(path) > 1 and "constraints" in path:
        allowed = PATTERNS[MINIMUM_PATTERN]
    unit = unit_of(_name(path))
    allowed = f"{allowed} ({unit})" if unit and allowed else allowed
    types_ = {entry["type"] for entry in entries}
    if isinstance(given, str) and types_ & {"int_type", "float_type"}:
        found = plain_number(given, _name(path), whole="float_type" not in types_)
        if found:
            collector.add(path, found[0], given=shown(given), allowed=allowed, advice=found[1])
            return
    words = [word for entry in entries if entry["type"] == "literal_error" for word in _literal_words(entry)]
    nearest = near_miss(given, words) if isinstance(given, str) else None
    advice = f"write {nearest}" if nearest else None
    if types_ & {"int_type", "int_from_float"} and isinstance(given, float) and given.is_integer():
        advice = f"write {given:.0f}"
    collector.add(path, _message(entries), given=shown(given), allowed=allowed or None, nearest=nearest, advice=advice)


def _name(path: KeyPath) -> str:
    return str(path[-1]) if path else ""


def _message(entries: list[Any]) -> str:
    kinds = {entry["type"] for entry in entries}
    if kinds & set(BOUNDS):
        return "out of range"
    if kinds & {"too_short", "string_too_short"}:
        return "empty"
    if kinds <= {*WANTED, "literal_error"}:
        return "not a valid value" if "literal_error" in kinds else "of the wrong type"
    if kinds <= {"string_pattern_mismatch"}:
        return "not of the right form"
    return str(entries[0]["msg"])


def _wanted(entry: Any) -> str | None:
    """Return the values that an error entry says are allowed, in words."""
    kind, context = entry["type"], entry.get("ctx", {})
    if kind in BOUNDS:
        sign, name = BOUNDS[kind]
        bound = context[name]
        return f"{sign} {bound:,}" if isinstance(bound, int) else f"{sign} {bound:g}"
    if kind == "literal_error":
        return (
            f"one of {', '.join(_literal_words(entry))}" if len(_literal_words(entry)) > 1 else _literal_words(entry)[0]
        )
    if kind in ("too_short", "string_too_short"):
        return "at least one"
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], f"text that matches {context['pattern']}")
    return WANTED.get(kind)


def _literal_words(entry: Any) -> list[str]:
    """Extract the values of a Literal from pydantic's message, such as "'auto', 'sdpa' or 'eager'"."""
    text = entry["ctx"]["expected"].replace(" or ", ", ")
    return [word.strip().strip("'") for word in text.split(", ")]


def keys_of(model: Any, place: KeyPath) -> list[str]:
    """Return the allowed keys at a place; empty if any key is allowed."""
    found = models_at(model, place)
    return list(dict.fromkeys(name for each in found for name in each.model_fields))


def models_at(annotation: Any, place: KeyPath) -> list[type[BaseModel]]:
    """Return the models that an annotation allows at a place below it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return models_at(get_args(annotation)[0], place)
    if origin in (Union, types.UnionType):
        return [found for option in get_args(annotation) for found in models_at(option, place)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not place:
            return [annotation]
        field = annotation.model_fields.get(str(place[0]))
        return models_at(field.annotation, place[1:]) if field else []
    if origin in (list, dict, tuple, Mapping) and place:
        return models_at(get_args(annotation)[-1], place[1:])
    return []
