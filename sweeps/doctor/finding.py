"""Result of one check of `unlearn-sweep doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of one check.

    Attributes:
        name: What was checked.
        status: "warn" if something works worse or not at all, "fail" if no sweep can run.
        detail: What was found.
        advice: What to do; None if nothing.
        group: Findings of the same group with status "ok" are shown on one line.
    """

    name: str
    status: Status
    detail: str
    advice: str | None = None
    group: str | None = None
