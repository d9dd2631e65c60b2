"""Render a comparison with a paper for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unlearn_sweep.evaluators.paper_cards import PaperCard
from unlearn_sweep.sweeps.paper.comparing import Compared
from unlearn_sweep.sweeps.paper.values import OwnValue

TABLE_WIDTH = 100
"""Columns below which each number is a line instead of a row of a table."""


def render_superficial(found: Mapping[str, OwnValue]) -> Text:
    """Render superficial forgetting by line; empty if there is none."""
    lines = ["superficial forgetting (negative: other wordings bring back more):"] if found else []
    for name, own in found.items():
        error = "" if own.error is None else f" ± {own.error:.2g}"
        lines.append(f"  {name}: {own.reason}" if own.value is None else f"  {name}: {own.value:+.4g}{error}")
    return Text("\n".join(lines))


def render(card: PaperCard, compared: Sequence[Compared], width: int) -> Group:
    """Render the numbers, then each reason once with how many numbers it concerns."""
    title = Text(f"{card.paper}, {card.benchmark}, {card.model}", style="italic")
    if not compared:
        return Group(title, Text("papers.csv has no number of this paper; `unlearn-sweep papers` lists what it has"))
    body: RenderableType = _table(compared) if width >= TABLE_WIDTH else _lines(compared)
    return Group(title, body, _reasons(compared))


def _numbered(compared: Sequence[Compared]) -> dict[str, int]:
    return {reason: place for place, reason in enumerate(dict.fromkeys(r for c in compared for r in c.why_not), 1)}


def _why(one: Compared, numbers: dict[str, int]) -> str:
    if one.comparable:
        return "yes"
    return "no: " + ", ".join(str(place) for place in sorted(numbers[reason] for reason in one.why_not))


def _here(one: Compared) -> str:
    if one.here is None:
        return "-"
    return f"{one.here:.4g}" + ("" if one.error is None else f" ± {one.error:.2g}")


def _difference(one: Compared) -> str:
    return "-" if one.difference is None else f"{one.difference:+.4g}"


def _table(compared: Sequence[Compared]) -> Table:
    table, numbers = Table(box=None, padding=(0, 2, 0, 0)), _numbered(compared)
    for column in ("method", "metric", "paper", "here", "difference", "comparable"):
        right = column in ("paper", "here", "difference")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for one in compared:
        number = one.published
        paper = f"{number.value:g}"
        table.add_row(number.method, number.metric, paper, _here(one), _difference(one), _why(one, numbers))
    return table


def _lines(compared: Sequence[Compared]) -> Text:
    text, numbers = Text(), _numbered(compared)
    for one in compared:
        number = one.published
        values = f"paper {number.value:g}, here {_here(one)}, difference {_difference(one)}"
        text.append(f"{number.method}: {number.metric}: {values}; comparable {_why(one, numbers)}\n")
    return text


def _reasons(compared: Sequence[Compared]) -> Text:
    counts = {reason: sum(reason in one.why_not for one in compared) for reason in _numbered(compared)}
    yes = sum(one.comparable for one in compared)
    lines = [f"{yes} of {len(compared)} numbers are comparable."]
    lines += [f"{place}: {reason} ({count})" for place, (reason, count) in enumerate(counts.items(), 1)]
    return Text("\n".join(lines))
