"""Keep records small in memory: a driver holds those of all trials until the sweep ends."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

_KNOWN: dict[frozenset[str], set[str]] = {}
"""Each set of field names that a record was made with, once. There are few: one for each shape of a record."""


def compact(model: BaseModel) -> None:
    """Let a frozen model, and the models in it, share the sets of field names that pydantic keeps with each.

    A set of 20 names takes 2 KiB, more than most records' values. pydantic copies a set before it changes it.
    """
    names = model.__pydantic_fields_set__
    object.__setattr__(model, "__pydantic_fields_set__", _KNOWN.setdefault(frozenset(names), names))
    for value in model.__dict__.values():
        _compact_value(value)


def _compact_value(value: object) -> None:
    if isinstance(value, BaseModel):
        compact(value)
    elif isinstance(value, dict):
        _compact_all(value.values())
    elif isinstance(value, list | tuple):
        _compact_all(value)


def _compact_all(values: Iterable[object]) -> None:
    for value in values:
        _compact_value(value)
