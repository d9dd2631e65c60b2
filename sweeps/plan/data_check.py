"""The rows behind a sweep file, checked before anything starts: what a benchmark's files lack, and what needs it.

Only what lies on this machine is read. Rows on the hub are read when the sweep runs, and the plan says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.hub import missing_models
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.cards import BenchmarkCard
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec
from unlearn_sweep.sweeps.plan.lengths import losses_of, too_long
from unlearn_sweep.sweeps.plan.obstacles import obstacles_of

READ_AT_ONCE_BYTES = 64 << 20
"""Files larger than this together are left to `plan` and `run`: a check has to answer at once."""


def check_rows(spec: SweepSpec, job: SweepJob, *, at_once: bool = False, hub: bool = False) -> Benchmark | None:
    """The benchmark, loaded; None where its rows are on the hub (read with `hub`), or too many `at_once`.

    Raises:
        SpecError: files that cannot be read, rows without what they need, or rows that a method, metric or attack of
            the sweep cannot work with; it holds all of it.
    """
    remote = spec.benchmark.card.remote(job.benchmark.params) and not hub
    if remote or (at_once and data_bytes(job) > READ_AT_ONCE_BYTES):
        return None
    draft = ProblemCollector(spec.document)
    try:
        benchmark = load_benchmark(job.benchmark.name, job.benchmark.params)
    except (OSError, ValueError) as error:
        for line in str(error).splitlines():
            draft.add(place_of(line, job), line)
        raise SpecError(spec.document.file, draft.problems) from error
    for obstacle in (*obstacles_of(job, benchmark), *too_long(losses_of(job, benchmark))):
        draft.add(("benchmark",), obstacle)
    if draft.problems:
        raise SpecError(spec.document.file, draft.problems)
    return benchmark


def check_hub(spec: SweepSpec, job: SweepJob) -> None:
    """Ask for every model that is named by a hub id. SpecError with those that cannot be had, and what to do."""
    draft = ProblemCollector(spec.document)
    for name, said in missing_models(hub_models(job)).items():
        draft.add(tuple(name.split(".")), said)
    if draft.problems:
        raise SpecError(spec.document.file, draft.problems)


def hub_models(job: SweepJob) -> dict[str, str | None]:
    """Models and tokenizers of a job by their place in the sweep file."""
    named: dict[str, str | None] = {}
    for name, source in (("model", job.original), ("gold", job.gold)):
        named |= {f"{name}.path": source.path, f"{name}.tokenizer": source.tokenizer}
        named[f"{name}.train.base"] = (source.recipe or {}).get("base")
    return named


def place_of(message: str, job: SweepJob) -> tuple[str, ...]:
    """Where in the sweep file the data file stands that a message is about."""
    named = {name: str(value) for name, value in job.benchmark.params.items() if name.endswith("path") and value}
    found = next((name for name, value in named.items() if message.startswith(value)), None)
    return ("benchmark",) if found is None else ("benchmark", found)


def describe(spec: SweepSpec, job: SweepJob, benchmark: Benchmark | None) -> str:
    """What is known of the rows, in words."""
    if benchmark is None and spec.benchmark.card.remote(job.benchmark.params):
        return hub_note(spec.benchmark.card, job.benchmark.params)
    if benchmark is None:
        return f"{data_bytes(job) / 2**20:.0f} MiB of files, checked by plan and by run"
    trained = ", ".join(f"{len(rows)} {view}" for view, rows in benchmark.train.items())
    judged = ", ".join(f"{len(rows)} {split}" for split, rows in benchmark.evaluation.items())
    losses = str(losses_of(job, benchmark))
    return f"checked; to train on {trained}; to judge by {judged}{'; ' if losses else ''}{losses}"


def hub_note(card: BenchmarkCard, params: Mapping[str, Any]) -> str:
    """What cannot be known of a benchmark's rows before they are fetched, and which of them may change."""
    loose = " and ".join(f"benchmark.{name}" for name in card.unpinned(params))
    pinned = f" (unpinned, so the newest: give {loose})" if loose else ""
    access = "" if card.access == "open" else f" ({card.access})"
    otherwise = f"read and checked when the sweep runs, or give benchmark.{card.local_option}"
    return f"on the hub, {card.hub}{pinned}{access}: {otherwise}"


def data_bytes(job: SweepJob) -> int:
    """Size of the local files a benchmark names."""
    places = [Path(value) for name, value in job.benchmark.params.items() if name.endswith("path") and value]
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
    return sum(file.stat().st_size for file in files if file.is_file())
