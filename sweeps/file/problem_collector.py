"""Collect the mistakes found while a sweep file is checked."""

from __future__ import annotations

from typing import Any

from unlearn_sweep.sweeps.file.problems import Problem, dotted, near_miss, shown
from unlearn_sweep.sweeps.file.yaml_lines import Document, KeyPath

SHORT_FOR = {"lr": "learning_rate", "bs": "batch_size", "wd": "weight_decay"}
"""Usual abbreviations, to suggest the name they stand for. No file may use them."""


class ProblemCollector:
    """Collects problems. Paths with a problem are marked invalid and not checked again, so each is reported once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = list(document.problems)
        self.notes: list[str] = []
        self._invalid: set[KeyPath] = set(document.lost)

    def add(self, path: KeyPath, message: str, **parts: Any) -> None:
        """Report a mistake at `path` and mark the path as invalid. `parts` are fields of `Problem`."""
        self.problems.append(self.document.problem(path, message, **parts))
        self._invalid.add(path)

    def note(self, path: KeyPath, text: str) -> None:
        """Add a note about `path` that is not a mistake."""
        self.notes.append(f"{dotted(path)}: {text}")

    def add_unknown(self, path: KeyPath, message: str, names: list[str], allowed: str) -> None:
        """Report an unknown name. Also mark the most similar valid name as invalid, since it was probably meant."""
        given = str(path[-1])
        meant = SHORT_FOR.get(given)
        nearest = meant if meant in names else near_miss(given, names)
        advice = f"write {nearest}" if nearest else "remove it, or use one of the names above"
        self.add(path, message, given=shown(given), allowed=allowed, nearest=nearest, advice=advice)
        if nearest:
            self.mark_invalid((*path[:-1], nearest))

    def mark_invalid(self, path: KeyPath) -> None:
        self._invalid.add(path)

    def is_valid(self, *paths: KeyPath) -> bool:
        """Whether nothing wrong was found at these paths, above or below them."""
        return not any(
            broken[: len(path)] == path or path[: len(broken)] == broken for path in paths for broken in self._invalid
        )
