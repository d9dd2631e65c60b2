"""Section `requests`: requests to forget one after another, and what has to fit them."""

from __future__ import annotations

from typing import Any

from unlearn_sweep.engine.search_space import CHECKPOINT, MethodSpace
from unlearn_sweep.engine.stages.training_requests import needs_teacher
from unlearn_sweep.methods.catalog import in_two
from unlearn_sweep.sweeps.file.benchmark import BenchmarkChoice
from unlearn_sweep.sweeps.file.file_schema import RequestsSection
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector


def check_requests(
    section: RequestsSection | None,
    benchmark: BenchmarkChoice | None,
    spaces: tuple[MethodSpace, ...],
    collector: ProblemCollector,
) -> None:
    """Check that the benchmark is divided into as many requests, and that every method can go on from its own model."""
    if section is None or not collector.is_valid(("requests",)):
        return
    if section.after != sorted(set(section.after)):
        message = "the numbers of requests must rise"
        collector.add(("requests",), message, given=str(section.after), allowed="rising numbers, as [1, 2, 3, 4]")
        return
    if any(CHECKPOINT in space.params for space in spaces):
        message = "a sweep of requests is measured after each request, not within a training"
        advice = "leave out requests, or checkpoints"
        collector.add(("training", "checkpoints"), message, allowed="requests or checkpoints, not both", advice=advice)
    for space in spaces:
        if in_two(space.method, {}) is not None:
            message = f"method {space.method} is two trainings in turn, and takes no requests one by one"
            allowed = "a method of one training"
            collector.add(("methods", space.method), message, allowed=allowed, advice="leave it out")
        elif needs_teacher(space.method):
            message = (
                f"method {space.method} learns from a teacher of all forget rows, and takes no requests one by one"
            )
            allowed = "a method without a teacher"
            collector.add(("methods", space.method), message, allowed=allowed, advice="leave it out")
    if benchmark is None:
        return
    there: Any = benchmark.params.get("requests")
    if there is None or there < section.after[-1]:
        message = f"the benchmark has {there or 1} of the {section.after[-1]} requests that are asked for"
        advice = f"write benchmark.requests: {section.after[-1]}, or more to go on later"
        collector.add(("benchmark", "requests"), message, allowed=f"at least {section.after[-1]}", advice=advice)
