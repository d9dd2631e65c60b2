"""Compute how many trials fit on a machine or cluster at once. Arithmetic only, so a plan needs no Ray.

The stages of a trial run one after the other, so a trial needs what its largest stage needs: the training workers, or
the workbench that measures. The driver reserves hardly any CPU. A workbench that trains by itself holds all CPUs of its
trial; one beside training workers holds none, and gives its accelerators up while they train.
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
    peak = {kind: float(max(training.get(kind, 0.0), evaluation.get(kind, 0.0))) for kind in kinds}
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
    workers, evaluation = job.training.worker_group, job.measuring
    placed = place(workers, evaluation, resources, trials=job.search.trials)
    if placed.obstacles:
        raise NoRoomError(f"no trial can be placed: {'; '.join(placed.obstacles)}")
    most = min(placed.at_once, job.concurrent_trials or placed.at_once)
    for trials in range(most, 0, -1) if nodes else ():
        if all(_find_room(phase, trials, nodes) for phase in phases(workers, evaluation, driver or {})):
            return trials
    if nodes:
        phase = next(phase for phase in phases(workers, evaluation, driver or {}) if not _find_room(phase, 1, nodes))
        needs = " + ".join(_shown(one) for one in phase)
        raise NoRoomError(
            f"no trial can be placed: its processes need {needs or 'nothing'}, each on one machine, and the machines "
            f"have {'; '.join(_shown(node) for node in nodes)}"
        )
    return most


def phases(
    workers: Workers, evaluation: Mapping[str, float], driver: Mapping[str, float]
) -> list[list[Mapping[str, float]]]:
    """Return the resources of each process of one trial while it trains, and while it measures.

    A trial trains with its driver and its workers, and measures with its driver and its workbench.
    """
    training = [one for one in (driver, *[workers.resources] * workers.count) if any(one.values())]
    measuring = [one for one in (driver, workbench(workers, evaluation, driver)) if any(one.values())]
    return [phase for phase in (training, measuring) if phase]


def workbench(
    workers: Workers, evaluation: Mapping[str, float], driver: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the resources that a workbench reserves for the whole sweep, so that others see that they are in use.

    Beside training workers it reserves no CPU: it waits while they train, and they would wait for its CPUs. `driver`
    is what the driver of its trial reserves of the same CPUs.
    """
    reserved = accelerators(evaluation)
    if workers.count == 0:
        cpus = per_trial(workers, evaluation).get("CPU", 0.0) - (driver or {}).get("CPU", 0.0)
        reserved |= {"CPU": round(cpus, 4)} if cpus > 0 else {}
    return reserved


def accelerators(resources: Mapping[str, float]) -> dict[str, float]:
    """Return all resources but CPUs."""
    return {kind: amount for kind, amount in resources.items() if kind != "CPU" and amount > 0}


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
