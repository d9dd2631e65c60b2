"""Prints docs/models.md with the matrix of the recorded table in it: `python -m tests.support.architecture_page`.

`--record` does every cell anew and writes the table, and prints no page. The slow test compares table and outcomes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TABLE = ROOT / "docs" / "architectures.json"
PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
WORKS = "works"

Table = dict[str, dict[str, str]]


def recorded() -> Table:
    """Outcome by architecture and cell, as it was recorded."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


def record() -> None:
    """Do every cell and write what came out."""
    from tests.support.architecture_cells import CELLS, outcome
    from tests.support.architectures import CLASSES

    found = {name: {cell: outcome(name, cell) for cell in CELLS} for name in CLASSES}
    TABLE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def matrix(table: Table) -> str:
    """Cells down, architectures across is too wide for a page: architectures down, and the refusals below."""
    groups: dict[str, list[str]] = {}
    for cell in next(iter(table.values())):
        groups.setdefault(cell.partition(": ")[0], []).append(cell)
    heads = {"train": "trainings", "attack": "attacks", "metric": "kinds of metric"}
    lines = ["| class | " + " | ".join(heads[kind] for kind in groups) + " | refused |"]
    lines.append("| --- " * (len(groups) + 2) + "|")
    for name, cells in table.items():
        counts = [f"{sum(cells[cell] == WORKS for cell in own)} of {len(own)}" for own in groups.values()]
        refused = ", ".join(cell.partition(": ")[2] for cell, said in cells.items() if said != WORKS)
        lines.append(f"| {name} | " + " | ".join(counts) + f" | {refused or 'nothing'} |")
    reasons = sorted({said for cells in table.values() for said in cells.values() if said != WORKS})
    done = [f"{heads[kind]}: " + ", ".join(cell.partition(": ")[2] for cell in own) for kind, own in groups.items()]
    return "\n".join([*lines, "", *(f"* {line}" for line in done), "", "Refused in these words:", "", *_list(reasons)])


def _list(reasons: list[str]) -> list[str]:
    return [f"* {reason}" for reason in reasons] or ["* nothing is"]


def page() -> str:
    """The page with the matrix between its marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{matrix(recorded())}\n{END}{after}"


if __name__ == "__main__":
    if "--record" in sys.argv:
        record()  # libraries log to stdout meanwhile, so the page is printed by a run of its own
    else:
        print(page(), end="")
