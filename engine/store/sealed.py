"""Bases of everything written to disk: immutable records, and records with a digest of their own content."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator


class Record(BaseModel):
    """Base of everything written to disk: rejects unknown keys; instances are immutable.

    A non-finite number is written as null. A file that contains one (1e999 is valid JSON) is damaged.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")

    @model_validator(mode="after")
    def _reject_infinity_in_a_file(self, info: ValidationInfo) -> Self:
        if info.mode == "json":
            infinite = [name for name, value in self if not _is_finite(value)]
            if infinite:
                raise ValueError(f"not a finite number: {', '.join(infinite)}")
        return self


def _is_finite(value: object) -> bool:
    """Return whether no number in a field's value is NaN or infinite. Nested records check themselves."""
    match value:
        case float():
            return math.isfinite(value)
        case Record():
            return True
        case BaseModel():
            return all(_is_finite(item) for _, item in value)
        case Mapping():
            return all(map(_is_finite, cast("Mapping[str, object]", value).values()))
        case list() | tuple():
            return all(map(_is_finite, cast("Sequence[object]", value)))
        case _:
            return True


class Sealed(Record):
    """A record with a digest of its own content, to detect damage. `seal` is None if there is none."""

    seal: str | None = None

    def sealed(self) -> Self:
        """Return a copy with the digest of the current content."""
        return self.model_copy(update={"seal": self._content()})

    def is_intact(self) -> bool:
        """Return whether the content matches the seal; True if there is no seal."""
        return self.seal is None or self.seal == self._content()

    def _content(self) -> str:
        """Return a digest of the fields that differ from their defaults, so that new fields do not break old seals.

        `exclude_defaults` alone keeps a default that a field's own serializer writes.
        """
        fields = type(self).model_fields
        same = {name for name in fields if getattr(self, name) == fields[name].get_default(call_default_factory=True)}
        content = json.loads(self.model_dump_json(exclude={"seal", *same}, exclude_defaults=True))
        return hashlib.sha256(json.dumps(_without_null(content), sort_keys=True).encode()).hexdigest()[:16]


def _without_null(value: Any) -> Any:
    """Remove null members from nested JSON.

    A non-finite number is null on disk and is read back as None, so only without nulls do both have the same digest.
    """
    if isinstance(value, dict):
        return {name: _without_null(item) for name, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


class FileMark(Record):
    """Size and SHA-256 (hex) of a file as it was written. If `sha256` is None, only the size is compared."""

    bytes: int
    sha256: str | None = None
