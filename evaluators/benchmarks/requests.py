"""Forget rows in several requests: what is to be forgotten first, second, and so on.

Option `requests` of a benchmark divides its forget facts evenly, in the order of the rows, so that each request has
whole facts. A benchmark with published requests (MUSE) numbers its rows itself. A training reads the rows of some
requests alone, which its request names under `REQUESTS_KEY`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

REQUESTS_KEY = "trained_requests"
"""Where a training's benchmark options hold the numbers of its requests; no benchmark has an option of that name."""


def in_requests(benchmark: Benchmark, count: int | None) -> Benchmark:
    """The benchmark with its forget rows numbered from 1 to `count`; as it is where they are, or with None.

    Raises:
        ValueError: fewer facts than requests, or rows to judge by that are none of those that are trained on.
    """
    if count is None or any(row.request for row in benchmark.train["forget"]):
        return benchmark
    groups = list(dict.fromkeys(row.group_id for row in benchmark.train["forget"]))
    if len(groups) < count:
        raise ValueError(
            f"benchmark.requests: {benchmark.name} has {len(groups)} forget facts, too few for {count} requests"
        )
    strangers = {row.group_id for row in benchmark.evaluation["forget"]} - set(groups)
    if strangers:
        raise ValueError(
            f"benchmark.requests: {len(strangers)} facts that {benchmark.name} judges forgetting by are none of those "
            "it trains on, so they belong to no request; leave requests out"
        )
    number = {group: 1 + place * count // len(groups) for place, group in enumerate(groups)}
    train = {
        view: [replace(row, request=number.get(row.group_id, 0)) for row in rows]
        for view, rows in benchmark.train.items()
    }
    judged = [replace(row, request=number[row.group_id]) for row in benchmark.evaluation["forget"]]
    return replace(benchmark, train=train, evaluation={**benchmark.evaluation, "forget": judged})


def only_requests(benchmark: Benchmark, numbers: Collection[int]) -> Benchmark:
    """The benchmark with the training rows of these requests, and those of none.

    Raises:
        ValueError: a request without rows.
    """
    there = {row.request for row in benchmark.train["forget"]} - {0}
    if missing := sorted(set(numbers) - there):
        raise ValueError(
            f"requests: {benchmark.name} has no forget rows of request {missing[0]}; it has {len(there)} requests: set "
            "benchmark.requests to as many as are asked for"
        )
    kept = {0, *numbers}
    train = {view: [row for row in rows if row.request in kept] for view, rows in benchmark.train.items()}
    return replace(benchmark, train=train)
