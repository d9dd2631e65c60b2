"""Compute how many concurrent trials fit in memory, from the peak memory of the controls' stages.

The stages that run on every trial ran on the controls before the search. A method may need more memory than they did:
a stage that runs out of memory is retried once while no other stage runs (`engine.resources.memory_shortage`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.resources.peak_memory import MIB
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.store.outcomes import PeakMemory, TrainOutcome
from unlearn_sweep.engine.store.stages import StageStore

SHARE = 0.9
"""Share of the memory of a machine or accelerator to use. Ray kills processes above 0.95 of a machine's memory."""
LEADER_MIB = 400.0
TRAIN_CONTROL_MIB = 900.0
"""Resident MiB of the processes that Ray Train adds around its workers; `LEADER_MIB`: of a trial's own process.

Measured with Ray 2.60.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Measured peak memory of one trial in MiB; None if not measured.

    Attributes:
        host: resident memory on the machine.
        accelerator: memory on accelerators.
        accelerator_total: memory of one device.
    """

    host: float | None
    accelerator: float | None = None
    accelerator_total: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Number of concurrent trials, and in one sentence why it is below the requested number (None if it is not)."""

    at_once: int
    reason: str | None = None


def memory_packing(
    job: SweepJob, prepared: Prepared, store: StageStore, places: int, nodes: Sequence[Mapping[str, float]]
) -> Packing:
    """Return the packing (see `packed`) from the peaks in the stored results of the controls' stages.

    These results may come from another sweep.
    """
    keys = [*prepared.evaluations.values(), *(key for both in prepared.attacks.values() for key in both.values())]
    measured = [found.peak_memory for key in keys if (found := store.result(key)) is not None]
    made = [found.outcome(TrainOutcome) for key in prepared.ids.values() if (found := store.result(key)) is not None]
    peaks = [peak for peak in measured if peak is not None]
    return packed(job, places, footprint(job, peaks, [outcome.peak_memory_mib for outcome in made]), nodes)


def footprint(job: SweepJob, peaks: Sequence[PeakMemory], trained_mib: Iterable[float]) -> Footprint:
    """Compute the footprint of a trial from the peaks of the stages that measured and that trained the controls.

    The peak of a training is the resident size of its process on a CPU, and the allocator's peak on an accelerator. If
    the stages report no host memory, `host` is None: the overhead around a trial alone is no estimate.
    """
    workers = job.training.worker_group
    training = max(trained_mib, default=None)
    on_gpu = workers.resources.get("GPU", 0.0) > 0
    host = max((peak.host for peak in peaks if peak.host is not None), default=None)
    device = max((peak.accelerator for peak in peaks if peak.accelerator is not None), default=None)
    total = max((peak.accelerator_total for peak in peaks if peak.accelerator_total is not None), default=None)
    if workers.count == 0:  # training runs in the workbench process
        host, device = (host, _most(device, training)) if on_gpu else (_most(host, training), device)
    elif training is not None:
        host = host + training * workers.count if host is not None and not on_gpu else host
        device = device + training * workers.count if device is not None and on_gpu else device
    around = LEADER_MIB + (TRAIN_CONTROL_MIB if workers.count else 0.0)
    return Footprint(host=None if host is None else host + around, accelerator=device, accelerator_total=total)


def _most(*amounts: float | None) -> float | None:
    return max((amount for amount in amounts if amount is not None), default=None)


def packed(job: SweepJob, places: int, found: Footprint, nodes: Sequence[Mapping[str, float]]) -> Packing:
    """Return the number of concurrent trials that fit in memory: at most `places`, at least 1.

    `nodes` are the machines as Ray resource mappings; machines without CPUs run no trials. Accelerator memory counts
    only if a workbench uses a fraction of a device; whole devices are not shared.
    """
    memory_mib = [node["memory"] / MIB for node in nodes if node.get("memory") and node.get("CPU")]
    limits: dict[str, int] = {}
    if found.host is not None and memory_mib:
        fits = sum(math.floor(SHARE * own / found.host) for own in memory_mib)
        limits[f"{found.host / 1024:.1f} GiB of memory"] = fits
    share = job.measuring.get("GPU", 0.0)
    if 0 < share < 1 and found.accelerator and found.accelerator_total:
        each = math.floor(SHARE * found.accelerator_total / found.accelerator)
        devices = sum(int(node.get("GPU", 0.0)) for node in nodes)
        limits[f"{found.accelerator / 1024:.1f} GiB of a GPU's memory"] = devices * each
    what = min(limits, key=lambda name: limits[name], default=None)
    if what is None or limits[what] >= places:
        return Packing(at_once=places)
    at_once = max(1, limits[what])
    return Packing(
        at_once=at_once, reason=f"{at_once} at once instead of {places}: a trial was measured to take {what}"
    )
