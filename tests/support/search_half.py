"""The half of a split's rows that the search sees, drawn as the scoring draws it."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn_sweep.evaluators.rows import Row, halves


def search_groups(rows: Sequence[Row]) -> frozenset[str]:
    """The groups whose scores the search may see; all others are kept for the report."""
    return halves((row.group_id for row in rows), salt="search")[0]
