"""Oracle: resources counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recorded_attacks import recorded_job
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.resources.placement import NoRoomError, concurrency, per_trial, place, workbench
from unlearn_sweep.engine.training.settings import Workers

ONE_CPU = {"CPU": 1.0}


@pytest.mark.parametrize(
    ("workers", "evaluation", "capacity", "trials", "at_most", "at_once", "bound_by"),
    [
        (Workers(), ONE_CPU, {"CPU": 2}, 12, None, 2, "CPU"),
        (Workers(), ONE_CPU, {"CPU": 64}, 12, None, 12, "trials"),
        (Workers(), ONE_CPU, {"CPU": 64}, 12, 3, 3, "max_concurrent"),
        (Workers(count=2), ONE_CPU, {"CPU": 2}, 4, None, 1, "CPU"),
        (Workers(count=2), ONE_CPU, {"CPU": 3}, 4, None, 1, "CPU"),
        (Workers(count=2), ONE_CPU, {"CPU": 1}, 4, None, 0, "CPU"),
        # the workbench gives its half of a GPU up while two workers train on two: 8 // 2 = 4
        (Workers(count=2, resources={"GPU": 1}), {"CPU": 1, "GPU": 0.5}, {"CPU": 64, "GPU": 8}, 99, None, 4, "GPU"),
        # one worker and one workbench share the only GPU
        (Workers(count=1, resources={"GPU": 1}), {"CPU": 1, "GPU": 1}, {"CPU": 4, "GPU": 1}, 99, None, 1, "GPU"),
        # without workers the workbench trains: its own GPU is the only one
        (Workers(resources={"GPU": 1}), {"GPU": 1}, {"CPU": 64, "GPU": 8}, 99, None, 8, "GPU"),
        (Workers(resources={"CPU": 0.1}), {"CPU": 0.1}, {"CPU": 0.3}, 9, None, 3, "CPU"),
        (Workers(resources={"tpu": 1}), ONE_CPU, {"CPU": 4}, 9, None, 0, "tpu"),
    ],
)
def test_trials_at_once(
    workers: Workers,
    evaluation: dict[str, float],
    capacity: dict[str, float],
    trials: int,
    at_most: int | None,
    at_once: int,
    bound_by: str,
) -> None:
    found = place(workers, evaluation, capacity, trials=trials, at_most=at_most)
    assert (found.at_once, found.bound_by) == (at_once, bound_by)
    assert bool(found.obstacles) == (at_once == 0)


def test_what_is_missing_is_said() -> None:
    found = place(Workers(count=4), ONE_CPU, {"CPU": 2}, trials=1)
    assert found.obstacles == ("one trial needs 4 CPU, there are 2",)


def test_stages_share_what_a_trial_holds() -> None:
    workers = Workers(count=2, resources={"CPU": 1, "GPU": 1})
    assert per_trial(workers, {"CPU": 4, "GPU": 1}) == {"CPU": 4, "GPU": 2}
    assert per_trial(workers, {"CPU": 4, "GPU": 3}) == {"CPU": 4, "GPU": 3}


@pytest.mark.parametrize(("gpus", "each", "at_once"), [(0, {"CPU": 1}, 2), (1, {"CPU": 1, "GPU": 1}, 1)])
@pytest.mark.parametrize("workers", [0, 1])
def test_auto_takes_a_gpu_for_each_trial_where_there_is_one(
    tmp_path: Path, gpus: int, each: dict[str, float], at_once: int, workers: int
) -> None:
    job = recorded_job(tmp_path, "s", [], prune=False)
    search = job.search.model_copy(update={"trials": 9})
    job = job.model_copy(update={"search": search, "training": job.training.model_copy(update={"workers": workers})})
    capacity = {"CPU": 2.0, "GPU": float(gpus)}
    placed = job.on_capacity(capacity)
    assert placed.evaluation_resources == placed.training.resources_per_worker == each
    assert placed.digest() == job.digest()
    assert concurrency(placed, capacity, [capacity]) == at_once
    given = job.model_copy(update={"evaluation_resources": {"CPU": 3.0}})
    assert given.on_capacity(capacity).evaluation_resources == {"CPU": 3.0}


@pytest.mark.parametrize(
    ("workers", "evaluation", "nodes", "driver", "at_once"),
    [
        # two machines of three CPUs: two workers fit on each, and 6 // 2 = 3 trials would not
        (Workers(count=1, resources={"CPU": 2}), ONE_CPU, [{"CPU": 3}, {"CPU": 3}], {}, 2),
        (Workers(count=2, resources={"CPU": 2}), ONE_CPU, [{"CPU": 3}, {"CPU": 3}], {}, 1),
        # the hundredth of a CPU that a trial's own process takes
        (Workers(count=1), ONE_CPU, [{"CPU": 2}], {}, 2),
        (Workers(count=1), ONE_CPU, [{"CPU": 2}], {"CPU": 0.01}, 1),
        # training fits three times, measuring with two accelerators on one machine once for each machine
        (Workers(count=1), {"CPU": 1, "measuring": 2}, [{"CPU": 2, "measuring": 3}, {"CPU": 2, "measuring": 3}], {}, 2),
        # a workbench of its own kind on one machine only
        (Workers(count=1), {"CPU": 1, "measuring": 1}, [{"CPU": 8}, {"CPU": 8, "measuring": 2}], {}, 2),
    ],
)
def test_every_process_finds_room_on_one_machine(
    tmp_path: Path,
    workers: Workers,
    evaluation: dict[str, float],
    nodes: list[dict[str, float]],
    driver: dict[str, float],
    at_once: int,
) -> None:
    job = _job(tmp_path, workers, evaluation)
    total = {kind: sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "measuring")}
    assert concurrency(job, total, nodes, driver=driver) == at_once


def test_a_process_that_fits_on_no_machine_is_refused(tmp_path: Path) -> None:
    job = _job(tmp_path, Workers(count=1, resources={"GPU": 4}), {"CPU": 1})
    with pytest.raises(NoRoomError, match=r"\{GPU: 4\}, each on one machine, and the machines have \{CPU: 8, GPU: 2\}"):
        concurrency(job, {"CPU": 16, "GPU": 4}, [{"CPU": 8, "GPU": 2}] * 2)


def _job(tmp_path: Path, workers: Workers, evaluation: dict[str, float]) -> SweepJob:
    job = recorded_job(tmp_path, "s", [], prune=False)
    search = job.search.model_copy(update={"trials": 9})
    training = job.training.model_copy(update={"workers": workers.count, "resources_per_worker": workers.resources})
    return job.model_copy(update={"training": training, "search": search, "evaluation_resources": evaluation})


@pytest.mark.parametrize(
    ("workers", "driver", "reserved"),
    [
        (Workers(count=0, resources={"CPU": 4.0}), {}, {"GPU": 1.0, "CPU": 4.0}),
        (Workers(count=0, resources={"CPU": 1.0}), {"CPU": 0.01}, {"GPU": 1.0, "CPU": 1.99}),
        (Workers(count=2, resources={"CPU": 1.0}), {}, {"GPU": 1.0}),
    ],
)
def test_a_workbench_that_trains_reserves_the_cpus_of_its_trial(
    workers: Workers, driver: dict[str, float], reserved: dict[str, float]
) -> None:
    """Beside training workers it would keep their CPUs from them. Together with its driver it holds whole CPUs."""
    assert workbench(workers, {"GPU": 1.0, "CPU": 2.0}, driver) == reserved
