"""Compute how many trials fit on a machine or cluster at once. Arithmetic only, so a plan needs no Ray.

The driver and the workbench of a trial reserve hardly any CPU, so the CPU need of a trial is that of its largest stage.
A workbench reserves its accelerators for the whole search, so these add to those of the training workers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.training.settings import Workers
from unlearn_sweep.user_error import UserError

SLACK = 1e-9


class NoRoomError(UserError, ValueError):
    """Not even one trial fits; the message says which resources are missing."""

    advice = "Ask for less in the sweep file (training and evaluation resources), or add machines."


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How many trials run at once, and why not more.

    Attributes:
        at_once: number of concurrent trials. 0 if not even one fits.
        bound_by: the resource that runs out first, or "max_concurrent" or "trials".
        per_trial: the peak of each resource that one trial needs.
        capacity: the available amount of each resource.
        obstacles: why not even one trial fits; empty if `at_once` is at least 1.
    """

    at_once: int
    bound_by: str
    per_trial: Mapping[str, float]
    capacity: Mapping[str, float]
    obstacles: tuple[str, ...] = ()


def per_trial(workers: Workers, evaluation: Mapping[str, float]) -> dict[str, float]:
    """Return the peak amount of each resource that one trial holds."""
    training = {kind: max(1, workers.count) * amount for kind, amount in workers.resources.items()}
    kinds = dict.fromkeys([*training, *evaluation])
    # In local mode the workbench itself trains, so training needs no extra resources.
    together = workers.count > 0
    peak = {}
    for kind in kinds:
        parts = (training.get(kind, 0.0), evaluation.get(kind, 0.0))
        peak[kind] = float(sum(parts) if together and kind != "CPU" else max(parts))
    return {kind: amount for kind, amount in peak.items() if amount > 0}


def place(
    workers: Workers,
    evaluation: Mapping[str, float],
    capacity: Mapping[str, float],
    *,
    trials: int,
    at_most: int | None = None,
) -> Placement:
    """Compute the concurrent trials on `capacity` (Ray's resource names), at most `trials` and `at_most`."""
    need = per_trial(workers, evaluation)
    fits = {kind: math.floor(capacity.get(kind, 0.0) / amount + SLACK) for kind, amount in need.items()}
    obstacles = tuple(
        f"one trial needs {need[kind]:g} {kind}, there are {capacity.get(kind, 0.0):g}"
        for kind, count in fits.items()
        if not count
    )
    limits = {**fits, "trials": trials, **({} if at_most is None else {"max_concurrent": at_most})}
    bound_by = min(limits, key=lambda kind: limits[kind])
    return Placement(
        at_once=limits[bound_by], bound_by=bound_by, per_trial=need, capacity=dict(capacity), obstacles=obstacles
    )


def concurrency(
    job: SweepJob,
    resources: Mapping[str, float],
    nodes: Sequence[Mapping[str, float]] = (),
    *,
    driver: Mapping[str, float] | None = None,
) -> int:
    """Return the number of concurrent trials of a job on a cluster.

    Args:
        job: the sweep.
        resources: total resources of the cluster.
        nodes: resources of each machine. If given, every process must fit on one machine.
        driver: resources of the driver process of a trial. Used only with `nodes`.

    Raises:
        NoRoomError: not even one trial fits.
    """
    placed = place(job.training.worker_group, job.evaluation_resources, resources, trials=job.search.trials)
    if placed.obstacles:
        raise NoRoomError(f"no trial can be placed: {'; '.join(placed.obstacles)}")
    most = min(placed.at_once, job.concurrent_trials or placed.at_once)
    for trials in range(most, 0, -1) if nodes else ():
        if _find_room(processes(job.training.worker_group, job.evaluation_resources, driver or {}), trials, nodes):
            return trials
    if nodes:
        needs = " + ".join(_shown(one) for one in processes(job.training.worker_group, job.evaluation_resources, {}))
        raise NoRoomError(
            f"no trial can be placed: its processes need {needs or 'nothing'}, each on one machine, and the machines "
            f"have {'; '.join(_shown(node) for node in nodes)}"
        )
    return most


def processes(
    workers: Workers, evaluation: Mapping[str, float], driver: Mapping[str, float]
) -> list[Mapping[str, float]]:
    """Return the resources of each process of one trial: driver, workbench (no CPU) and training workers."""
    workbench = {kind: amount for kind, amount in evaluation.items() if kind != "CPU"}
    return [one for one in (driver, workbench, *[workers.resources] * workers.count) if any(one.values())]


def _find_room(one_trial: Sequence[Mapping[str, float]], trials: int, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Return whether all processes of `trials` trials fit, placed first-fit with the largest first."""
    free = [dict(node) for node in nodes]
    for process in sorted(list(one_trial) * trials, key=lambda one: -sum(one.values())):
        for node in free:
            if all(node.get(kind, 0.0) + SLACK >= amount for kind, amount in process.items()):
                for kind, amount in process.items():
                    node[kind] = node.get(kind, 0.0) - amount
                break
        else:
            return False
    return True


def _shown(resources: Mapping[str, float]) -> str:
    shown = {kind: amount for kind, amount in resources.items() if not kind.startswith(("node:", "object_store"))}
    return "{" + ", ".join(f"{kind}: {amount:g}" for kind, amount in shown.items()) + "}"
