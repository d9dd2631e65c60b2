"""Which rows a probe reads."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.halves import search_halves
from unlearn_sweep.evaluators.rows import Row

PROBED_KINDS = ("question", "continuation", "text")
"""Kinds of row whose answer has a probability: those of metric `probability`."""


def probed_rows(benchmark: Benchmark) -> tuple[Sequence[Row], Sequence[Row]]:
    """Return the forget rows and the utility rows of the search half that a probe may read, in the benchmark's order.

    The utility rows are those of the first utility split that has any. Empty where a benchmark has none.
    """
    forget = _of_search_half(benchmark.evaluation.get("forget", ()))
    utility = (_of_search_half(benchmark.evaluation[split]) for split in benchmark.utility_splits)
    return forget, next((rows for rows in utility if rows), ())


def _of_search_half(rows: Sequence[Row]) -> list[Row]:
    seen = search_halves([(row.group_id, row.kind) for row in rows]).search
    return [row for row in rows if row.group_id in seen and row.kind in PROBED_KINDS]
