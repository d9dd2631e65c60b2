"""Trials by measured memory. Oracles: divisions done by hand, and memory that is really taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.outcomes import measured, trained
from tests.support.recorded_attacks import recorded_job
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.resources.peak_memory import MIB, PeakMeter
from unlearn_sweep.engine.stages.memory_limit import (
    LEADER_MIB,
    SHARE,
    TRAIN_CONTROL_MIB,
    footprint,
    memory_packing,
    packed,
)
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.store.outcomes import MeasureOutcome, PeakMemory, TrainOutcome
from unlearn_sweep.engine.store.records import StageResult
from unlearn_sweep.engine.store.stages import StageRequest, StageStore
from unlearn_sweep.engine.training.settings import Workers

GIB = 2**30


@pytest.fixture
def job(tmp_path: Path) -> SweepJob:
    return recorded_job(tmp_path, "s", [], prune=False)


def _with(job: SweepJob, workers: Workers, evaluation: dict[str, float] | None = None) -> SweepJob:
    training = job.training.model_copy(update={"workers": workers.count, "resources_per_worker": workers.resources})
    return job.model_copy(update={"training": training, "evaluation_resources": evaluation or {"CPU": 1.0}})


def _peak(host: float | None, accelerator: float | None = None, total: float | None = None) -> PeakMemory:
    """`host` None: from a system that does not tell a process's peak."""
    return PeakMemory(host=host, accelerator=accelerator, accelerator_total=total)


def test_a_process_is_measured_while_it_works_and_not_before() -> None:
    before = bytearray(150 * MIB)
    del before
    meter = PeakMeter()
    quiet = meter.read().host
    block = bytearray(120 * MIB)
    del block
    loud = meter.read().host
    assert quiet is not None
    assert loud is not None
    assert 110 < loud - quiet < 135
    again = PeakMeter().read().host
    assert again is not None
    assert again < loud - 100


@pytest.mark.parametrize(
    ("workers", "trained", "host", "accelerator"),
    [
        (Workers(), [], LEADER_MIB + 2000, 500),
        # what trains is the workbench itself
        (Workers(), [3000.0], LEADER_MIB + 3000, 500),
        (Workers(resources={"GPU": 1}), [3000.0], LEADER_MIB + 2000, 3000),
        (Workers(count=2), [3000.0], LEADER_MIB + TRAIN_CONTROL_MIB + 2000 + 2 * 3000, 500),
        (
            Workers(count=2, resources={"GPU": 1}),
            [3000.0],
            LEADER_MIB + TRAIN_CONTROL_MIB + 2000,
            500 + 2 * 3000,
        ),
    ],
)
def test_what_a_trial_takes(
    job: SweepJob, workers: Workers, trained: list[float], host: float, accelerator: float
) -> None:
    measured = [_peak(1000, 400, 80_000), _peak(2000, 500, 80_000)]
    found = footprint(_with(job, workers), measured, trained)
    assert (found.host, found.accelerator, found.accelerator_total) == (host, accelerator, 80_000)


def test_as_many_as_each_machine_has_memory_for(job: SweepJob) -> None:
    found = footprint(job, [_peak(3 * 1024 - LEADER_MIB)], [])  # three GiB a trial
    machines = [{"memory": 10 * GIB / SHARE, "CPU": 32}, {"memory": 5 * GIB / SHARE, "CPU": 32}]
    machines += [{"memory": 99 * GIB, "CPU": 0}]  # a head that takes no work
    assert packed(job, 4, found, machines).at_once == 4  # three and one
    assert packed(job, 4, found, machines).reason is None
    few = packed(job, 9, found, machines)
    assert few.at_once == 4
    assert few.reason == "4 at once instead of 9: a trial was measured to take 3.0 GiB of memory"


def test_one_trial_is_tried_where_not_even_one_fits(job: SweepJob) -> None:
    found = footprint(job, [_peak(30_000)], [])
    assert packed(job, 2, found, [{"memory": 16 * GIB, "CPU": 8}]).at_once == 1


def test_where_nobody_measured_or_nobody_knows_nothing_changes(job: SweepJob) -> None:
    """Not even on a machine that is too small for what is around a trial: that alone is no measure of it."""
    unmeasured = footprint(_with(job, Workers(count=1)), [_peak(None)], [300.0])
    for nobody in (footprint(job, [], []), unmeasured):
        assert nobody.host is None
        assert packed(job, 5, nobody, [{"memory": GIB, "CPU": 8}]).at_once == 5
    assert packed(job, 5, footprint(job, [_peak(30_000)], []), [{"CPU": 4}]).at_once == 5


def test_workbenches_that_share_a_gpu_share_its_memory(job: SweepJob) -> None:
    """Quarters of two GPUs of 80 GiB: eight by share. At 30 GiB each, two fit on a GPU."""
    sharing = _with(job, Workers(count=1, resources={"CPU": 1}), {"CPU": 1, "GPU": 0.25})
    found = footprint(sharing, [_peak(1000, 30 * 1024, 80 * 1024)], [])
    machine = {"memory": 500 * GIB, "CPU": 64, "GPU": 2.0}
    assert packed(sharing, 8, found, [machine]).at_once == 4
    whole = _with(job, Workers(count=1, resources={"CPU": 1}), {"CPU": 1, "GPU": 1})
    assert packed(whole, 2, found, [machine]).at_once == 2


def test_it_is_read_from_the_stages_of_the_controls(job: SweepJob, tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    keys = {}
    for which, host in {"original": 1000.0, "gold": 1500.0, "original-attacked": 2600.0, "gold-attacked": 10.0}.items():
        request = StageRequest(stage="evaluate", inputs={"of": which}, outcome=MeasureOutcome)
        keys[which] = store.compute(request, lambda _, host=host: measured(peak=_peak(host))).key
    made = StageRequest(stage="prepare:original", inputs={}, outcome=TrainOutcome)
    store.compute(made, lambda _: trained(peak_memory_mib=700.0))
    prepared = Prepared(
        data="d",
        paths={},
        ids={"original": made.key, "gold": "given-by-path"},
        evaluations={which: keys[which] for which in ("original", "gold")},
        attacks={"a": {which: keys[f"{which}-attacked"] for which in ("original", "gold")}},
    )
    each_mib = 2600 + LEADER_MIB
    machine = {"memory": 3.5 * each_mib * MIB / SHARE, "CPU": 8}
    assert memory_packing(job, prepared, store, 8, [machine]).at_once == 3


def test_a_stage_of_before_there_was_a_measure_has_no_peak() -> None:
    old = StageResult(stage="evaluate", key="k", inputs={}, seconds=1.0, finished=1.0, host="h", data={"rows": 3})
    assert old.peak_memory is None
