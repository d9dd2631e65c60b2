"""The half of a split's rows that the search sees, drawn as the scoring draws it."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn_sweep.evaluators.halves import search_halves
from unlearn_sweep.evaluators.rows import Row


def search_groups(rows: Sequence[Row]) -> frozenset[str]:
    """The groups whose scores the search may see; all others are kept for the report."""
    return search_halves((row.group_id, row.stratum) for row in rows).search
