"""Read and check the metrics of UE and UT: each must be known and belong to the objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.evaluators.external_judges import missing_verdicts
from unlearn_sweep.evaluators.tasks.settings import AskedTask
from unlearn_sweep.sweeps.file.benchmark import BenchmarkChoice
from unlearn_sweep.sweeps.file.file_schema import EvaluatorsSection
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown

Objective = Literal["ue", "ut"]
GROUPS = ("evaluators", "ut_groups")
TASKS = "task:"
"""How the splits of lm-evaluation-harness's tasks begin."""


def read_metrics(
    objective: Objective, given: list[str] | None, benchmark: BenchmarkChoice | None, collector: ProblemCollector
) -> tuple[str, ...]:
    """Return the metrics of one objective: those in the file, else all that the benchmark names. Report mistakes."""
    path = ("evaluators", objective)
    if not collector.is_valid(path):
        return ()
    serving = [name for name, card in METRICS.items() if objective in card.serves]
    if given is None:
        return _of_benchmark(objective, serving, benchmark, collector)
    for index, name in enumerate(given):
        place = (*path, index)
        if name not in METRICS:
            nearest = near_miss(name, serving)
            advice = f"write {nearest}" if nearest else None
            collector.add(
                place, "unknown metric", given=shown(name), allowed=listing(serving), nearest=nearest, advice=advice
            )
        elif name not in serving:
            message = f"{name} is no metric of {objective.upper()}"
            collector.add(
                place, message, given=name, allowed=listing(serving), advice=f"put it under {_other(objective)}"
            )
        elif name in given[:index]:
            collector.add(place, "repeated metric", given=name, advice="keep it once")
        else:
            for reason in missing_verdicts([name]):
                collector.add(place, reason, given=name, advice="or leave the metric out")
    return tuple(given)


def _of_benchmark(
    objective: Objective, serving: list[str], benchmark: BenchmarkChoice | None, collector: ProblemCollector
) -> tuple[str, ...]:
    if benchmark is None:
        return ()
    named = benchmark.card.ut_metrics if objective == "ut" and benchmark.card.ut_metrics else benchmark.card.metrics
    own = tuple(name for name in named if name in serving)
    if not own:
        message = f"missing: the benchmark {benchmark.card.name} names no metric of {objective.upper()}"
        collector.add(
            ("evaluators", objective),
            message,
            allowed=listing(serving),
            advice=f"add evaluators: {{{objective}: [...]}}",
        )
    return own


def _other(objective: Objective) -> str:
    return "ut" if objective == "ue" else "ue"


def check_groups(section: EvaluatorsSection, tasks: Sequence[AskedTask], collector: ProblemCollector) -> None:
    """Check that every group of UT has splits, that no split is in two, and that tasks named in it are asked."""
    asked = {task.split for task in tasks}
    seen: dict[str, str] = {}
    for name, splits in (section.ut_groups or {}).items():
        path = (*GROUPS, name)
        if not splits:
            collector.add(
                path, "empty", allowed="splits: [task:mmlu, retain]", advice="name its splits or leave it out"
            )
        for place, split in enumerate(splits):
            if split.startswith(TASKS) and split not in asked:
                message = "no task that evaluators.lm_eval asks"
                collector.add_unknown((*path, place, split), message, sorted(asked), listing(sorted(asked)))
            elif split in seen:
                message = f"named twice, also in group {seen[split]}"
                collector.add((*path, place), message, given=split, allowed="each split once", advice="keep it once")
            seen.setdefault(split, name)
