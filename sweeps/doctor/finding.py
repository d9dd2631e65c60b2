"""One thing that `unlearn-sweep doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was looked at and found. `warn`: something works worse or not at all; `fail`: no sweep can run like this.

    `advice` says what to do, and is None where there is nothing to do. Findings of one `group` that are in order are
    shown together.
    """

    name: str
    status: Status
    detail: str
    advice: str | None = None
    group: str | None = None
