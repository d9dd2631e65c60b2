"""What every kind of row of one's own files has, and how cells are read."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]


def listed(value: Any) -> Any:
    """A cell of a CSV file that holds a JSON list."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):  # no JSON; the check of the column says so
            return value
    return value


def _as_text(value: Any) -> Any:
    """A number as the text that a CSV file would have in its place."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Written = Annotated[Text, BeforeValidator(_as_text)]
"""Text, or a whole number that JSON and parquet keep as one."""


class Record(BaseModel):
    """One row of a file. Columns that are not named here are left alone."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True, strict=True)

    group: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        default=None, description="the fact behind the row, shared by all its wordings"
    )
