"""Mistakes in a sweep file: their content and display, and the search for the valid name that was meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unlearn_sweep.user_error import UserError

SHOWN_CHARACTERS = 100
SHOWN_NAMES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake.

    Attributes:
        path: The key in the file, such as "search.trials"; empty for the whole file.
        message: What is wrong.
        line: Line in the file, from 1; None if the mistake has no position.
        column: Column in the line, from 1; None if the mistake has no position.
        given: The value in the file.
        allowed: Which values are allowed.
        nearest: The closest valid name.
        advice: What to do.
    """

    path: str
    message: str
    line: int | None = None
    column: int | None = None
    given: str | None = None
    allowed: str | None = None
    nearest: str | None = None
    advice: str | None = None

    def text(self, file: str) -> str:
        """Return a block of text: a line with a position that editors can open, then one line per known detail."""
        place = file if self.line is None else f"{file}:{self.line}"
        head = f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"
        rest = (("given", self.given), ("allowed", self.allowed), ("nearest", self.nearest), ("do", self.advice))
        return "\n".join([head, *(f"    {label + ':':9}{value}" for label, value in rest if value is not None)])


class SpecError(UserError):
    """Error: the sweep cannot run as specified. Shown without a traceback; the exit status is 2."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = in_file_order(problems)
        super().__init__(f"{file}: {count_of(len(self.problems), 'mistake')}")

    def text(self) -> str:
        """Return all problems as text, in file order."""
        head = f"{self.file}: {count_of(len(self.problems), 'mistake')}; nothing was started or written."
        return "\n\n".join([head, *(problem.text(self.file) for problem in self.problems)])

    def as_json(self) -> dict[str, Any]:
        return {"file": self.file, "valid": False, "problems": [asdict(problem) for problem in self.problems]}


def in_file_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort problems by position and remove duplicates. Problems without a line come first."""
    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=lambda problem: (problem.line or 0, problem.column or 0)))


def near_miss(given: str, names: Iterable[str]) -> str | None:
    """Return the most similar valid name, ignoring case and treating "-" and " " as "_". None if no name is similar."""
    plain = {_plain(name): name for name in names}
    close = difflib.get_close_matches(_plain(given), list(plain), n=1, cutoff=0.6)
    return plain[close[0]] if close else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def listing(names: Iterable[Any]) -> str:
    """Join names with commas. After `SHOWN_NAMES` names, write only how many more there are."""
    words = [str(name) for name in names]
    more = len(words) - SHOWN_NAMES
    return ", ".join(words[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def shown(value: Any) -> str:
    """Format a value on one line, truncated if long. Escape control characters to protect the terminal."""
    text = json.dumps(value, ensure_ascii=True, default=str) if not isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}... ({len(text)} characters)"


def dotted(path: Sequence[str | int]) -> str:
    """Format a path like `attacks[2].relearn.steps`. Escape control characters."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text if text.isprintable() else repr(text)[1:-1]


def count_of(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
