"""Run in a process of its own: start Ray with GPUs that are only counted, and place the trials of sweep files.

Arguments: how many GPUs, then the files. Prints one line of JSON for each file. Placement groups reserve what a trial's
processes ask for, so no process starts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CPUS_A_GPU = 8
PLACED_S = 30.0
LAST_S = 5.0
"""How long the last trial may take, which may be one too many."""
COUNTED_S = 1.0
"""After this time Ray's count of what is free includes what was placed."""


def place_all(gpus: int, files: Sequence[Path]) -> None:
    import ray

    ray.init(address="local", num_gpus=gpus, num_cpus=CPUS_A_GPU * gpus, include_dashboard=False, log_to_driver=False)
    for file in files:
        print("PLACED", json.dumps(_placed(file, gpus)), flush=True)
    ray.shutdown()


def _placed(file: Path, gpus: int) -> dict[str, float]:
    """What a driver of this sweep reads off this Ray, and how many trials Ray then places in each phase."""
    import ray

    from unlearn_sweep.engine.on_ray.cluster import driver_resources
    from unlearn_sweep.engine.resources.placement import concurrency, workbench
    from unlearn_sweep.sweeps.file.spec import load_spec
    from unlearn_sweep.sweeps.resolve import resolve

    capacity = {kind: float(amount) for kind, amount in ray.cluster_resources().items()}
    job = resolve(load_spec(file, gpus=gpus, gpu_gib=80)).on_capacity(capacity)
    driver, workers = driver_resources(), job.training.worker_group
    at_once = concurrency(job, capacity, [capacity], driver=driver)
    measures = [driver, workbench(workers, job.measuring, driver)]
    trains = [driver, *[workers.resources] * workers.count] if workers.count else measures
    training, in_training = _reserved(trains, at_once, gpus)
    measuring, in_measuring = _reserved(measures, at_once, gpus)
    return {
        "at_once": at_once,
        "training": training,
        "measuring": measuring,
        "one_more": min(_reserved(phase, at_once + 1, gpus)[0] for phase in (trains, measures)) - at_once,
        "idle_gpus": gpus - max(in_training, in_measuring),
    }


def _reserved(processes: Sequence[Mapping[str, float]], trials: int, gpus: int) -> tuple[int, float]:
    """Ask Ray for the processes of so many trials. Return how many it placed, and the GPUs that they hold."""
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    bundles = [{kind: amount for kind, amount in process.items() if amount > 0} for process in processes]
    groups = [placement_group([bundle for bundle in bundles if bundle]) for _ in range(trials)]
    placed = sum(group.wait(timeout_seconds=PLACED_S) for group in groups[:-1])
    placed += groups[-1].wait(timeout_seconds=LAST_S)
    time.sleep(COUNTED_S)
    held = gpus - ray.available_resources().get("GPU", 0.0)
    for group in groups:
        remove_placement_group(group)
    limit = time.monotonic() + PLACED_S
    while ray.available_resources().get("GPU", 0.0) < gpus and time.monotonic() < limit:
        time.sleep(0.1)
    return placed, round(held, 6)


if __name__ == "__main__":
    place_all(int(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
