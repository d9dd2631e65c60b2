"""Which half each measured row is of: what the search sees, or what is kept for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.halves import search_halves

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_sweep.evaluators.rows import Row


def with_halves(table: pd.DataFrame, evaluation: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    """Return the table with a column `half` ("search" or "report"), unless it has one.

    Args:
        table: one line a measured row, with `split` and `group_id`.
        evaluation: all rows of each split. The halves are drawn from these and not from the lines of the table, which
            has only the kinds of row that a metric is for: so an attacker, who draws from the same rows, leaves some of
            each half. Splits without rows here (tasks) are halved by their lines.
    """
    if "half" in table.columns:
        return table
    kinds = table["kind"] if "kind" in table.columns else ["question"] * len(table)
    lines: dict[str, list[tuple[str, str]]] = {}
    for split, group, kind in zip(table["split"].tolist(), table["group_id"].tolist(), list(kinds), strict=True):
        lines.setdefault(split, []).append((group, kind))
    rows = lines | {split: [(row.group_id, row.stratum) for row in found] for split, found in evaluation.items()}
    search = {split: search_halves(found).search for split, found in rows.items()}
    places = zip(table["split"].tolist(), table["group_id"].tolist(), strict=True)
    return table.assign(half=["search" if group in search[split] else "report" for split, group in places])
