"""Explain a number that was written with a unit or in quotes, and suggest the plain number to write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

WRITTEN = re.compile(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z%]*)\s*\Z")

_TIMES = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "ms": 1e-3,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
}
_TIMES |= {"d": 86400, "day": 86400, "w": 604800, "week": 604800}
_SIZES = {
    "b": 2**-30,
    "kb": 2**-20,
    "kib": 2**-20,
    "mb": 2**-10,
    "mib": 2**-10,
    "gb": 1,
    "gib": 1,
    "tb": 1024,
    "tib": 1024,
}
_COUNTS = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}

# By ending of the field's name: the unit in words, the conversion table, and the size of one unit in that table.
_FIELDS: Mapping[str, tuple[str, Mapping[str, float], float]] = MappingProxyType(
    {
        "_hours": ("hours", _TIMES, 3600),
        "_s": ("seconds", _TIMES, 1),
        "_gib": ("GiB", _SIZES, 1),
        "_share": ("a share between 0 and 1", {"%": 0.01, "percent": 0.01}, 1),
    }
)


def unit_of(name: str) -> str | None:
    """Return the unit that the ending of a field's name implies, in words; None if it implies none."""
    return next((words for ending, (words, _, _) in _FIELDS.items() if name.endswith(ending)), None)


def plain_number(text: str, name: str = "", *, whole: bool = False) -> tuple[str, str] | None:
    """Return what is wrong with a number written as text, and what to write instead; None if it is not a number."""
    match = WRITTEN.match(text)
    if match is None:
        return None
    number, unit = float(match[1]), match[2]
    if not unit:
        return "a number in quotes is text", f"write {_shown(number, whole)} without quotes"
    scale, one = next(
        ((scale, one) for ending, (_, scale, one) in _FIELDS.items() if name.endswith(ending)), (_COUNTS, 1)
    )
    size = scale.get(unit.lower()) or scale.get(unit.lower().rstrip("s"))
    wanted = unit_of(name)
    message = f"a plain number is wanted{f', in {wanted}' if wanted else ''}; {match[2]!r} is no part of it"
    if size is None:
        return message, f"write the number alone{f', in {wanted}' if wanted else ''}"
    return message, f"write {_shown(number * size / one, whole)}"


def _shown(number: float, whole: bool) -> str:
    return f"{number:.0f}" if whole and number == int(number) else f"{number:.10g}"
