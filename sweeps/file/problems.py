"""Mistakes in a sweep file: what each one says, how a near miss is found, and how all of them are shown at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SHOWN_CHARACTERS = 100
SHOWN_NAMES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake. `path` is where in the file ("search.trials"), `line` and `column` count from 1 (None: no place).

    `given` is what the file says, `allowed` what it may say, `nearest` the closest valid name, `advice` what to do.
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
        """One block: a line that editors can jump to, then what is known, a line each."""
        place = file if self.line is None else f"{file}:{self.line}"
        head = f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"
        rest = (("given", self.given), ("allowed", self.allowed), ("nearest", self.nearest), ("do", self.advice))
        return "\n".join([head, *(f"    {label + ':':9}{value}" for label, value in rest if value is not None)])


class SpecError(Exception):
    """A sweep that cannot be run as asked. Shown without a traceback; exit status 2."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = in_file_order(problems)
        super().__init__(f"{file}: {count_of(len(self.problems), 'mistake')}")

    def text(self) -> str:
        """All problems, in the order of the file."""
        head = f"{self.file}: {count_of(len(self.problems), 'mistake')}; nothing was started or written."
        return "\n\n".join([head, *(problem.text(self.file) for problem in self.problems)])

    def as_json(self) -> dict[str, Any]:
        return {"file": self.file, "valid": False, "problems": [asdict(problem) for problem in self.problems]}


def in_file_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sorted by place; problems without a line come first, equal ones once."""
    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=lambda problem: (problem.line or 0, problem.column or 0)))


def near_miss(given: str, names: Iterable[str]) -> str | None:
    """The valid name that `given` was probably meant to be; case, `-` and `_` do not count. None: nothing is close."""
    plain = {_plain(name): name for name in names}
    close = difflib.get_close_matches(_plain(given), list(plain), n=1, cutoff=0.6)
    return plain[close[0]] if close else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def listing(names: Iterable[Any]) -> str:
    """Names side by side; a long list is cut and says so."""
    words = [str(name) for name in names]
    more = len(words) - SHOWN_NAMES
    return ", ".join(words[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def shown(value: Any) -> str:
    """A value on one line, cut if long. Control characters are escaped, so that a file cannot steer the terminal."""
    text = json.dumps(value, ensure_ascii=True, default=str) if not isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}... ({len(text)} characters)"


def dotted(path: Sequence[str | int]) -> str:
    """A path as people write it: `attacks[2].relearn.steps`. Control characters are escaped."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text if text.isprintable() else repr(text)[1:-1]


def count_of(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
