"""Render published numbers for the terminal: one table per paper."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unlearn_sweep.evaluators.papers import GRADES, PublishedNumber, papers

TABLE_WIDTH = 110
"""Columns below which a table of eight columns breaks words, so that each number is a line instead."""


def render(numbers: Sequence[PublishedNumber], width: int) -> Group:
    """Render all numbers for a terminal of `width` columns, or a message if there are none."""
    if not numbers:
        return Group(Text("no published number fits; `unlearn-sweep papers` lists all of them"))
    make = _table if width >= TABLE_WIDTH else _lines
    parts: list[RenderableType] = [make(paper, [n for n in numbers if n.paper == paper]) for paper in papers(numbers)]
    parts.append(Text("grades: " + "; ".join(f"{grade} {meaning}" for grade, meaning in GRADES.items())))
    return Group(*parts)


def render_names(numbers: Sequence[PublishedNumber]) -> Group:
    """Render how many numbers there are of each benchmark, and for which methods."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column()
    for benchmark in dict.fromkeys(number.benchmark for number in numbers):
        own = [number for number in numbers if number.benchmark == benchmark]
        methods = ", ".join(dict.fromkeys(number.method for number in own))
        table.add_row(Text(benchmark, style="bold"), str(len(own)), Text(methods))
    end = f"{len(numbers)} published numbers; --benchmark, --method and --paper choose among them, --all prints all."
    return Group(table, Text(end))


def _lines(paper: str, numbers: Sequence[PublishedNumber]) -> Text:
    """Render one line a number, under the paper and under each benchmark with its model."""
    text, place = Text(paper, style="italic"), ("", "")
    for number in numbers:
        if place != (number.benchmark, number.model):
            place = (number.benchmark, number.model)
            text.append(f"\n{number.benchmark}, {number.model}", style="bold not italic")
        value = f"{number.value:g} {number.unit}".rstrip()
        line = f"\n  {number.method}: {number.metric} {value} ({number.direction} is better, grade {number.grade})"
        text.append(line, style="not italic")
    return text.append("\n")


def _table(paper: str, numbers: Sequence[PublishedNumber]) -> Table:
    table = Table(title=paper, title_justify="left")
    for column in ("benchmark", "model", "method", "metric", "value", "unit", "better", "grade"):
        table.add_column(column, justify="right" if column == "value" else "left", overflow="fold")
    for number in numbers:
        cells = (number.benchmark, number.model, number.method, number.metric, f"{number.value:g}", number.unit)
        table.add_row(*cells, number.direction, number.grade)
    return table
