"""How many trials there is the memory for, by what the controls' own stages took of it.

The same stages run on the controls before the search as on every trial in it. A method that takes more than they did
is for the second line: a stage that runs out of memory is tried once more alone (`engine.resources.memory_shortage`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.resources.peak_memory import PeakMemory
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.store.stages import StageStore

SHARE = 0.9
"""Of what a machine or an accelerator has. Ray begins to end processes at .95 of a machine's memory."""
LEADER_MIB = 400.0
TRAIN_CONTROL_MIB = 900.0
"""Resident size of the process that leads a trial, and of those that Ray Train adds around workers (Ray 2.60)."""
MIB = 2**20
PEAK = "peak_memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one trial takes at its highest, in MiB, by measure; None where nobody measured it.

    `accelerator_total`: what one device has.
    """

    host: float | None
    accelerator: float | None = None
    accelerator_total: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Trials at once, and in one sentence why they are fewer than asked for (None where they are not)."""

    at_once: int
    reason: str | None = None


def memory_packing(
    job: SweepJob, prepared: Prepared, store: StageStore, places: int, nodes: Sequence[Mapping[str, float]]
) -> Packing:
    """The same from the store, where the controls' stages say what they took, also those of another sweep."""
    keys = [*prepared.evaluations.values(), *(key for both in prepared.attacks.values() for key in both.values())]
    measured = [found.data for key in keys if (found := store.result(key)) is not None]
    made = [found.data for key in prepared.ids.values() if (found := store.result(key)) is not None]
    return packed(job, places, footprint(job, measured, [data for data in made if "peak_memory_mib" in data]), nodes)


def footprint(job: SweepJob, measured: Iterable[Mapping[str, Any]], trained: Iterable[Mapping[str, Any]]) -> Footprint:
    """From the data of the controls' stages: those that measured them, and those that trained them.

    A training's peak is its process's resident size on a CPU and the allocator's on an accelerator. Where no stage
    tells its peak, the footprint has none: what is around a trial is no measure of it.
    """
    peaks = [PeakMemory.model_validate(data[PEAK]) for data in measured if data.get(PEAK)]
    workers = job.training.worker_group
    training = max((float(data["peak_memory_mib"]) for data in trained), default=None)
    on_gpu = workers.resources.get("GPU", 0.0) > 0
    host = max((peak.host for peak in peaks if peak.host is not None), default=None)
    device = max((peak.accelerator for peak in peaks if peak.accelerator is not None), default=None)
    total = max((peak.accelerator_total for peak in peaks if peak.accelerator_total is not None), default=None)
    if workers.count == 0:  # the workbench trains
        host, device = (host, _most(device, training)) if on_gpu else (_most(host, training), device)
    elif training is not None:
        host = host + training * workers.count if host is not None and not on_gpu else host
        device = device + training * workers.count if device is not None and on_gpu else device
    around = LEADER_MIB + (TRAIN_CONTROL_MIB if workers.count else 0.0)
    return Footprint(host=None if host is None else host + around, accelerator=device, accelerator_total=total)


def _most(*amounts: float | None) -> float | None:
    return max((amount for amount in amounts if amount is not None), default=None)


def packed(job: SweepJob, places: int, found: Footprint, nodes: Sequence[Mapping[str, float]]) -> Packing:
    """As many of `places` as there is memory for, and never none: a single trial may be tried.

    `nodes` are the machines in Ray's terms; one without CPUs takes no trials. Where a workbench has accelerators of its
    own, nobody shares them, so they are looked at only where it holds a part of one.
    """
    memory_mib = [node["memory"] / MIB for node in nodes if node.get("memory") and node.get("CPU")]
    limits: dict[str, int] = {}
    if found.host is not None and memory_mib:
        fits = sum(math.floor(SHARE * own / found.host) for own in memory_mib)
        limits[f"{found.host / 1024:.1f} GiB of memory"] = fits
    share = job.evaluation_resources.get("GPU", 0.0)
    if 0 < share < 1 and found.accelerator and found.accelerator_total:
        each = math.floor(SHARE * found.accelerator_total / found.accelerator)
        devices = sum(int(node.get("GPU", 0.0)) for node in nodes)
        limits[f"{found.accelerator / 1024:.1f} GiB of a GPU's memory"] = devices * each
    what = min(limits, key=lambda name: limits[name], default=None)
    if what is None or limits[what] >= places:
        return Packing(at_once=places)
    at_once = max(1, limits[what])
    return Packing(at_once=at_once, reason=f"{at_once} at once and not {places}: a trial takes {what}, by measure")
