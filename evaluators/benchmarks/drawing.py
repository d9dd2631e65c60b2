"""Some of many rows, the same ones every time, on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from unlearn_sweep.evaluators.rows import Row


def drawn(rows: Sequence[Row], limit: int | None, *, salt: str) -> list[Row]:
    """At most `limit` rows (None: all), drawn by the hash of their id, in the order given."""
    if limit is None or limit >= len(rows):
        return list(rows)
    ranked = sorted(rows, key=lambda row: hashlib.sha256(f"{salt}:{row.row_id}".encode()).digest())
    kept = {row.row_id for row in ranked[:limit]}
    return [row for row in rows if row.row_id in kept]
