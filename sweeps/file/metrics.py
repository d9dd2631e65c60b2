"""Read and check the metrics of UE and UT: each must be known and belong to the objective."""

from __future__ import annotations

from typing import Literal

from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.evaluators.external_judges import missing_verdicts
from unlearn_sweep.sweeps.file.benchmark import BenchmarkChoice
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown

Objective = Literal["ue", "ut"]


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
