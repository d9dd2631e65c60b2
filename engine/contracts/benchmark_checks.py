"""Contract checks for benchmarks. Each raises ContractError on a violation. Used by the tests and `check-plugin`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from unlearn_sweep.engine.contracts.failure import require
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.cards import BenchmarkCard
from unlearn_sweep.evaluators.catalog import metric_card, row_metrics


def rows_are_sound(card: BenchmarkCard, options: Mapping[str, Any]) -> None:
    """Check the views, splits and rows of a benchmark.

    It must have views "forget" and "retain", a non-empty split "forget" and non-empty utility splits. Row ids must be
    unique, and no fact may be both in split "forget" and in a utility split.
    """
    benchmark = _load(card, options)
    require(
        {"forget", "retain"} <= set(benchmark.train), f"views are {sorted(benchmark.train)}; forget and retain needed"
    )
    splits = {"forget", *benchmark.utility_splits}
    require(splits <= set(benchmark.evaluation), f"splits are {sorted(benchmark.evaluation)}; {sorted(splits)} needed")
    require(bool(benchmark.utility_splits), "no utility split")
    empty = [name for name in ("forget", *benchmark.utility_splits) if not benchmark.evaluation[name]]
    require(not empty, f"splits without rows: {empty}")
    rows = [row for split in benchmark.evaluation.values() for row in split]
    twice = [name for name, count in Counter(row.row_id for row in rows).items() if count > 1]
    require(not twice, f"row_id given twice: {twice[:3]}")
    wrong = [row.row_id for split, own in benchmark.evaluation.items() for row in own if row.split != split]
    require(not wrong, f"rows whose split is not the one they are in: {wrong[:3]}")
    facts = {row.group_id for row in benchmark.evaluation["forget"]}
    both = sorted(facts & {row.group_id for name in benchmark.utility_splits for row in benchmark.evaluation[name]})
    require(not both, f"facts (group_id) both to forget and of utility: {both[:3]}")


def two_loads_are_equal(card: BenchmarkCard, options: Mapping[str, Any]) -> None:
    """Check that loading twice gives the same digest, because the digest is part of every stage key."""
    first, second = _load(card, options).digest(), _load(card, options).digest()
    require(first == second, f"digest {first}, then {second}")


def metrics_fit_the_rows(card: BenchmarkCard, options: Mapping[str, Any]) -> None:
    """Check that each default metric applies to a kind of row that the benchmark has."""
    kinds = {row.kind for split in _load(card, options).evaluation.values() for row in split}
    for name in (*card.metrics, *card.ut_metrics):
        fitting = {kind for part in row_metrics([name]) for kind in metric_card(part).kinds}
        require(bool(fitting & kinds), f"metric {name} is for {sorted(fitting)}, the rows are {sorted(kinds)}")


def _load(card: BenchmarkCard, options: Mapping[str, Any]) -> Benchmark:
    return card.load()(card.params.model_validate(dict(options)))
