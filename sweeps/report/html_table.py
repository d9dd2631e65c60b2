"""Render plain tables as HTML, with long texts folded and links to trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

TEXT_SHOWN = 240


@dataclass(frozen=True, slots=True)
class TrialLink:
    """A cell with a text and a link to a trial: "0.91 (trial 10)"."""

    text: str
    number: int


Cell = str | TrialLink


def table(head: Sequence[str], lines: Iterable[Sequence[Cell]], *, label: str, numeric_from: int | None = None) -> str:
    """Return a scrollable table that a keyboard reaches under the name `label`. Texts are escaped."""

    def cells(texts: Sequence[Cell], tag: str) -> str:
        kinds = [' class="number"' if numeric_from is not None and i >= numeric_from else "" for i in range(len(texts))]
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(f"<{tag}{scope}{kind}>{_cell(text)}</{tag}>" for text, kind in zip(texts, kinds, strict=True))

    body = "".join(f"<tr>{cells(line, 'td')}</tr>" for line in lines)
    return (
        f'<div class="plain" tabindex="0" role="region" aria-label="{escape(label)}"><table><thead><tr>'
        f"{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell, TrialLink):
        return f'{escape(cell.text)} <a href="#trial-{cell.number}">trial {cell.number}</a>'
    return folded(cell)


def folded(text: str) -> str:
    """Return the escaped text; collapse it if it is longer than 240 characters."""
    if len(text) <= TEXT_SHOWN:
        return escape(text)
    start = f"{escape(text[:TEXT_SHOWN])} \N{HORIZONTAL ELLIPSIS}"
    return f'<details><summary>{start}</summary><div class="reason">{escape(text)}</div></details>'
