"""Which facts the search sees, which are kept for the report, and which an attacker may use: drawn by hash, by group.

The search half and the report half are drawn kind by kind of row (and part by part, where a benchmark has
parts), so that each has rows of every kind that is there.
The attacker's facts are drawn inside each of these halves, so that he never has all of one: of every half, and of every
kind of row in it, something is left to score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from unlearn_sweep.user_error import UserError

Kinds = tuple[str, ...]


class TooFewFactsError(UserError, ValueError):
    """So few facts that no half of them can be parted; the message says how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halves:
    """Group ids of one split's rows, on two sides: `search` is what the search sees, `report` is never seen by it."""

    search: frozenset[str]
    report: frozenset[str]


def halves(group_ids: Iterable[str], *, salt: str) -> tuple[frozenset[str], frozenset[str]]:
    """Two halves of the groups, drawn by hash; the first has the odd one. Same groups and salt, same halves."""
    ranked = _ranked(set(group_ids), salt)
    cut = (len(ranked) + 1) // 2
    return frozenset(ranked[:cut]), frozenset(ranked[cut:])


def search_halves(rows: Iterable[tuple[str, str]]) -> Halves:
    """The halves of one split's rows, each given as (group id, kind of row); order and repeats mean nothing.

    Groups with rows of the same kinds are halved among themselves. The odd ones go to both sides in turn, the first to
    the search.
    """
    search: set[str] = set()
    report: set[str] = set()
    odd = 0
    for groups in _strata(rows).values():
        first, second = halves(groups, salt="search")
        if len(groups) % 2:
            odd += 1
            if odd % 2 == 0:
                spare = _ranked(first, "search")[-1]
                first, second = first - {spare}, second | {spare}
        search |= first
        report |= second
    return Halves(search=frozenset(search), report=frozenset(report))


def attacker_groups(trained: Collection[str], judged: Sequence[tuple[str, str]]) -> frozenset[str]:
    """The forget groups that an attacker gets to see again: half of them, never all of a half that is scored.

    Args:
        trained: groups of the forget rows that models are trained on.
        judged: the forget rows that models are judged by, each as (group id, kind of row).

    Raises:
        TooFewFactsError: no choice has a trained fact in it and leaves one to judge in each half.
    """
    sides = search_halves(judged)
    cells = _cells(judged, sides)
    seen: set[str] = set()
    for (side, _), groups in cells.items():
        seen |= set(_trained_first(groups, trained)[: _share(side, len(groups))])
    only_trained = set(trained) - sides.search - sides.report
    seen |= halves(only_trained, salt="relearn")[0]
    if not seen & set(trained):
        seen = _with_a_trained_one(seen, trained, cells, sides)
    _check(seen, trained, sides)
    return frozenset(seen)


def _check(seen: Collection[str], trained: Collection[str], sides: Halves) -> None:
    if not (set(seen) & set(trained) and sides.search - set(seen) and sides.report - set(seen)):
        facts = len(set(trained) | sides.search | sides.report)
        raise TooFewFactsError(
            f"{facts} forget facts ({len(set(trained))} trained, {len(sides.search | sides.report)} judged) are too "
            "few: one has to be trained on by the attacker, and another left to judge in the search half and in the "
            "report half each; use at least 3, or an attack that trains on none"
        )


def _share(side: str, count: int) -> int:
    """How many of a cell's groups the attacker has; where there are two, at least one is left."""
    return min((count + 1) // 2, count - 1) if side == "search" else count // 2 if count > 1 else 0


def _strata(rows: Iterable[tuple[str, str]]) -> dict[Kinds, set[str]]:
    """Groups by the kinds of their rows, in the order of these kinds."""
    kinds: dict[str, set[str]] = {}
    for group, kind in rows:
        kinds.setdefault(group, set()).add(kind)
    strata: dict[Kinds, set[str]] = {}
    for group, found in kinds.items():
        strata.setdefault(tuple(sorted(found)), set()).add(group)
    return dict(sorted(strata.items()))


def _cells(judged: Sequence[tuple[str, str]], sides: Halves) -> dict[tuple[str, Kinds], set[str]]:
    """Judged groups by side and by kinds."""
    return {
        (side, kinds): cell
        for kinds, groups in _strata(judged).items()
        for side, members in (("search", sides.search), ("report", sides.report))
        if (cell := groups & members)
    }


def _trained_first(groups: Collection[str], trained: Collection[str]) -> list[str]:
    """The groups by hash, trained ones and others evenly mixed: each beginning of the list has its share of both."""
    ranked = _ranked(groups, "relearn")
    parts = [[group for group in ranked if group in trained], [group for group in ranked if group not in trained]]
    placed = [
        ((place + 0.5) / len(part), order, group)
        for order, part in enumerate(parts)
        for place, group in enumerate(part)
    ]
    return [group for _, _, group in sorted(placed)]


def _with_a_trained_one(
    seen: set[str], trained: Collection[str], cells: Mapping[tuple[str, Kinds], set[str]], sides: Halves
) -> set[str]:
    """The same with one trained group in it: in place of another of its cell, or added where its side has others."""
    for group in _ranked(trained, "relearn"):
        cell = next((groups for groups in cells.values() if group in groups), set())
        for given_up in _ranked(cell & seen, "relearn"):
            return (seen - {given_up}) | {group}
    for group in _ranked(trained, "relearn"):
        side = sides.search if group in sides.search else sides.report
        if side - seen - {group}:
            return seen | {group}
    return seen


def _ranked(groups: Iterable[str], salt: str) -> list[str]:
    return sorted(groups, key=lambda group: hashlib.sha256(f"{salt}:{group}".encode()).digest())
