"""How long a sweep takes: each method's trials, the preparation, the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.sweeps.plan.stages import StagePlan
from unlearn_sweep.sweeps.plan.workload import trainings_in


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodPlan:
    """Plan of one method.

    Attributes:
        method: Name of the method.
        trials: Number of trials.
        settings: Number of different settings in the search space; None if infinite.
        searched: Names of the searched parameters.
        trial_seconds: Estimated seconds of one trial; None if unknown.
    """

    method: str
    trials: int
    settings: int | None
    searched: tuple[str, ...]
    trial_seconds: float | None


def method_plan(job: SweepJob, index: int, shares: Mapping[str, int], stages: Sequence[StagePlan]) -> MethodPlan:
    """Return the plan of the method at `index` of the job's spaces: its share of the trials, and seconds of one."""
    space = job.spaces[index]
    own = [stage for stage in stages if stage.per == "trial" and stage.method in (None, space.method)]
    trials = shares[space.method]
    trained = max(1.0, trials / max(1, trainings_in(job, space, trials)))
    seconds = [stage.seconds and stage.seconds / (trained if stage.name == "unlearn" else 1.0) for stage in own]
    return MethodPlan(
        method=space.method,
        trials=shares[space.method],
        settings=space.settings(),
        searched=tuple(space.searched()),
        trial_seconds=None if None in seconds else sum(value for value in seconds if value is not None),
    )


def prepare_seconds(stages: Sequence[StagePlan], at_once: int, *, in_turn: bool) -> float | None:
    """Return the seconds before the search: train original and gold, then measure both on the workbenches.

    Original and gold train in parallel, unless `in_turn` is set or only one trial fits. None if a time is unknown.
    """
    open_stages = [stage for stage in stages if stage.per == "sweep" and not stage.cached]
    if any(stage.seconds is None for stage in open_stages):
        return None
    seconds = {stage.name: (stage.seconds or 0.0) * stage.count for stage in open_stages}
    trained = [value for name, value in seconds.items() if name in ("prepare:original", "prepare:gold")]
    models = sum(trained) if in_turn or at_once == 1 else max(trained, default=0.0)
    controls = [value for name, value in seconds.items() if name.startswith("control ")]
    longest = max((stage.seconds or 0.0 for stage in open_stages if stage.name.startswith("control ")), default=0.0)
    return (
        seconds.get("prepare:start", 0.0)
        + models
        + max(sum(controls) / min(at_once, 2 * max(1, len(controls))), longest)
    )


def search_seconds(methods: Sequence[MethodPlan], settled: Mapping[str, int], at_once: int) -> float | None:
    """Return the seconds of the remaining trials at `at_once` in parallel, at least those of the longest trial."""
    if any(method.trial_seconds is None for method in methods):
        return None
    left = [(max(0, method.trials - settled.get(method.method, 0)), method.trial_seconds or 0.0) for method in methods]
    return max(sum(count * seconds for count, seconds in left) / at_once, max((s for n, s in left if n), default=0.0))
