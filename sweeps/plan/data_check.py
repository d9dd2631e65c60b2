"""Check the benchmark's rows before a sweep starts: find missing data that methods, metrics or attacks need.

By default only local files are read. Rows on the hub are read when the sweep runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.cards import BenchmarkCard
from unlearn_sweep.sweeps.few_facts import few_facts
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec
from unlearn_sweep.sweeps.plan.attack_needs import attack_obstacles
from unlearn_sweep.sweeps.plan.lengths import losses_of, too_long
from unlearn_sweep.sweeps.plan.obstacles import other_obstacles, space_values
from unlearn_sweep.sweeps.plan.token_needs import token_obstacles
from unlearn_sweep.sweeps.views.readers import unwritten_views

READ_AT_ONCE_BYTES = 64 << 20
"""Limit on the total size of files that `validate` reads. Only `plan` and `run` check larger data."""


def check_rows(spec: SweepSpec, job: SweepJob, *, at_once: bool = False, hub: bool = False) -> Benchmark | None:
    """Load and check the benchmark.

    Args:
        spec: The checked sweep file.
        job: Its job.
        at_once: Skip files larger than `READ_AT_ONCE_BYTES` in total.
        hub: Download rows from the hub.

    Returns:
        The benchmark; None if its rows are on the hub and `hub` is false, or if its files were skipped.

    Raises:
        SpecError: a view is not written, the files cannot be read, or rows lack what a method, metric or attack of the
            sweep needs. The error lists all problems.
    """
    remote = spec.benchmark.card.remote(job.benchmark.params) and not hub
    collector = ProblemCollector(spec.document)
    if remote or (at_once and data_bytes(job) > READ_AT_ONCE_BYTES):
        for sentence in unwritten_views(job, space_values(job)):
            collector.add(("views",) if job.views else ("attacks",), sentence)
        if collector.problems:
            raise SpecError(spec.document.file, collector.problems)
        return None
    try:
        benchmark = load_benchmark(job.benchmark.name, job.benchmark.params)
    except (OSError, ValueError) as error:
        for line in str(error).splitlines():
            collector.add(place_of(line, job), line)
        raise SpecError(spec.document.file, collector.problems) from error
    for sentence in (*other_obstacles(job, benchmark), *too_long(losses_of(job, benchmark))):
        collector.add(("benchmark",), sentence)
    for found in (*attack_obstacles(job, benchmark), *token_obstacles(job, benchmark, hub=hub)):
        path, parts = ("attacks", found.entry), {"given": found.given, "allowed": found.allowed}
        collector.add(path, found.message, **parts, advice=found.advice)
    if collector.problems:
        raise SpecError(spec.document.file, collector.problems)
    return benchmark


def place_of(message: str, job: SweepJob) -> tuple[str, ...]:
    """Return the path in the sweep file of the data file that a message is about."""
    named = {name: str(value) for name, value in job.benchmark.params.items() if name.endswith("path") and value}
    found = next((name for name, value in named.items() if message.startswith(value)), None)
    return ("benchmark",) if found is None else ("benchmark", found)


def describe(spec: SweepSpec, job: SweepJob, benchmark: Benchmark | None) -> str:
    """Return a summary of the rows, or why they were not checked."""
    if benchmark is None and spec.benchmark.card.remote(job.benchmark.params):
        return hub_note(spec.benchmark.card, job.benchmark.params)
    if benchmark is None:
        return f"{data_bytes(job) / 2**20:.0f} MiB of files, checked by plan and by run"
    trained = ", ".join(f"{len(rows)} {view}" for view, rows in benchmark.train.items())
    judged = ", ".join(f"{len(rows)} {split}" for split, rows in benchmark.evaluation.items())
    losses = str(losses_of(job, benchmark))
    few = few_facts(forget_facts(benchmark))
    return "; ".join(filter(None, ("checked", f"to train on {trained}", f"to judge by {judged}", str(losses), few)))


def forget_facts(benchmark: Benchmark) -> int:
    """Return the number of facts that the forget side is judged by: groups of rows that halves never split."""
    return len({row.group_id for row in benchmark.evaluation["forget"]})


def hub_note(card: BenchmarkCard, params: Mapping[str, Any]) -> str:
    """Return a note that rows are on the hub and not checked yet, and which revisions are not pinned."""
    loose = " and ".join(f"benchmark.{name}" for name in card.unpinned(params))
    pinned = f" (unpinned, so the newest: give {loose})" if loose else ""
    access = "" if card.access == "open" else f" ({card.access})"
    otherwise = f"read and checked when the sweep runs, or give benchmark.{card.local_option}"
    return f"on the hub, {card.hub}{pinned}{access}: {otherwise}"


def data_bytes(job: SweepJob) -> int:
    """Return the total size of the local files that the benchmark options name."""
    places = [Path(value) for name, value in job.benchmark.params.items() if name.endswith("path") and value]
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
    return sum(file.stat().st_size for file in files if file.is_file())
