"""Read and check the benchmark of a sweep file: its name, and its options against the benchmark's model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.evaluators.cards import BenchmarkCard
from unlearn_sweep.sweeps.file import pydantic_errors
from unlearn_sweep.sweeps.file.paths import check_data_path
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown

PATH_NAMES = ("path", "file", "folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkChoice:
    """A benchmark and all of its options, as JSON values with absolute paths."""

    card: BenchmarkCard
    params: dict[str, Any]


def read_benchmark(benchmark: Any, folder: Path, collector: ProblemCollector) -> BenchmarkChoice | None:
    """Return the chosen benchmark. Report mistakes and return None if it is invalid."""
    path = ("benchmark",)
    if not isinstance(benchmark, dict):
        return None
    if "name" not in benchmark:
        collector.add((*path, "name"), "missing", allowed=listing(BENCHMARKS), advice="add the name of a benchmark")
        return None
    name = benchmark["name"]
    if not collector.is_valid((*path, "name")):
        return None
    if not isinstance(name, str) or name not in BENCHMARKS:
        nearest = near_miss(name, BENCHMARKS) if isinstance(name, str) else None
        advice = f"write {nearest}" if nearest else None
        collector.add(
            (*path, "name"),
            "unknown benchmark",
            given=shown(name),
            allowed=listing(BENCHMARKS),
            nearest=nearest,
            advice=advice,
        )
        return None
    card = BENCHMARKS[name]
    options = {key: value for key, value in benchmark.items() if key != "name" and collector.is_valid((*path, key))}
    try:
        checked = card.params.model_validate(options)
    except ValidationError as error:
        pydantic_errors.report(error, card.params, options, path, collector)
        return None
    return BenchmarkChoice(card=card, params=_with_paths(checked, folder, collector))


def _with_paths(params: BaseModel, folder: Path, collector: ProblemCollector) -> dict[str, Any]:
    """Return the options as JSON values. Check options that are files or folders and make them absolute."""
    values = params.model_dump(mode="json")
    for name, value in values.items():
        if isinstance(value, str) and name.rpartition("_")[2] in PATH_NAMES:
            values[name] = check_data_path(value, ("benchmark", name), folder, collector)
    return values
