"""A sweep whose stages only sleep, through Ray Tune as a real one. Run: `python bench/simulated_sweep.py`.

Everything but the stages' own work is real: study, driver, Tune, trial processes, workbench actors, stage store, event
log, scoring, pruning, records, front. So what a trial takes beyond its naps is what the engine costs, and the growth of
the driver's memory is the engine's.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from unlearn_sweep.engine.driver.sweep import Driver
from unlearn_sweep.engine.job import AttackSettings, BenchmarkSettings, ModelSource, SweepJob
from unlearn_sweep.engine.on_ray.cluster import cluster
from unlearn_sweep.engine.on_ray.pool import Pool, WorkbenchActor
from unlearn_sweep.engine.on_ray.search import search
from unlearn_sweep.engine.search_settings import SearchPlan, SearchSettings
from unlearn_sweep.engine.search_space import Fixed, LogUniform, MethodSpace
from unlearn_sweep.engine.stages import measuring_requests
from unlearn_sweep.engine.stages.attack_order import base_costs
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import AttackOutcome, AttackState, MeasureOutcome, PeakMemory, TrainOutcome
from unlearn_sweep.engine.store.records import Outcome, TrialRecord
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.sweeps.launch import worker_environment

ROWS = 8
NAP_S = 0.5
WARM = 10
"""Trials after which every process is warm."""
SPACE = MethodSpace(
    method="graddiff", params={"learning_rate": LogUniform(low=1e-6, high=1e-1), "retain": Fixed("nll")}
)
ATTACKS = [
    AttackSettings(label="prefill", name="prefill", family="prompt", params={"tokens": [1]}),
    AttackSettings(label="quantize", name="quantize", family="quantize", params={"bits": [4]}),
]
OUTCOME = TrainOutcome(
    steps=1, planned_steps=1, epochs=1, seconds=NAP_S, reference_seconds=0, tokens=1, terms={}, curve=[],
    stopped_early=None, stop_reason=None, weights_finite=True, parameters=1, peak_memory_mib=0, world_size=1,
    backend="simulated", dtype="float32", global_batch_rows=1, mean_answer_tokens=1, conventions={},
)  # fmt: skip


ATTACKED = AttackOutcome(points=[AttackState(strength=1.0, unit="x", notes={})], judging={}, peak_memory=PeakMemory())


def measured(rows: int) -> MeasureOutcome:
    return MeasureOutcome(
        rows=rows, forward_passes=1, generated_tokens=0, dropped={}, judging={}, peak_memory=PeakMemory()
    )


class SleepingWorkbench(WorkbenchActor):
    """Sleeps where a workbench works, and leaves tables that follow from the learning rate."""

    def __init__(self, nap_s: float) -> None:
        super().__init__()
        self.nap_s = nap_s

    def ready(self) -> bool:
        return True

    def load_models(self) -> None:
        """Load nothing: nothing is computed."""

    def train(self, job: dict[str, Any], name: str, storage: str) -> dict[str, Any]:
        time.sleep(self.nap_s)
        folder = Path(job["output_dir"])
        folder.mkdir(parents=True)
        (folder / "rate").write_text(str(job["learning_rate"]))
        return OUTCOME.model_dump(mode="json")

    def measure(self, request: dict[str, Any]) -> dict[str, Any]:
        time.sleep(self.nap_s)
        push = self._push(request)
        rows = pd.concat([_rows("forget", 1 - push), _rows("retain", 1 - 0.8 * push**2)], ignore_index=True)
        rows.to_parquet(request["rows_path"], index=False)
        return measured(len(rows)).model_dump(mode="json")

    def attack(self, request: dict[str, Any]) -> dict[str, Any]:
        time.sleep(self.nap_s)
        left = self._push(request) ** (2 if request["attack"] == "prefill" else 3)
        _attacked(left).to_parquet(request["rows_path"], index=False)
        return ATTACKED.model_dump(mode="json")

    @staticmethod
    def _push(request: dict[str, Any]) -> float:
        """How hard a trial forgets, in (0, 1): higher with the learning rate, over its five orders of magnitude."""
        rate = float((Path(request["model_path"]) / "rate").read_text())
        return min(0.98, max(0.02, 1 + math.log10(rate / 1e-1) / 5))


def sleeping(nap_s: float) -> type[SleepingWorkbench]:
    """The class of workbenches that sleep so long in each stage."""

    class Sleeping(SleepingWorkbench):
        def __init__(self) -> None:
            super().__init__(nap_s)

    return Sleeping


class Measured(Driver):
    """The driver, with its memory noted at each settled trial, and the CPU time of all processes at some.

    The rate depends on what else the machine does; what a trial takes of its cores does so much less.
    """

    def __init__(self, job: SweepJob) -> None:
        super().__init__(job)
        self.marks: list[tuple[float, int]] = []
        self.cpu_s: dict[int, float] = {}
        self._process = psutil.Process()

    def settle(self, task: TrialTask, record: TrialRecord) -> None:
        super().settle(task, record)
        self.marks.append((time.perf_counter(), self._process.memory_info().rss))
        if len(self.marks) in (WARM, self.job.search.trials):
            everything = [self._process, *self._process.children(recursive=True)]
            self.cpu_s[len(self.marks)] = sum(_cpu_s(process) for process in everything)


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # ended since it was listed
        return 0.0
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="trials in all")
    parser.add_argument("--at-once", type=int, default=4, help="trials at once")
    parser.add_argument("--nap-s", type=float, default=NAP_S, help="seconds each stage sleeps")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(Path(folder), options.trials, options.at_once, options.nap_s)))


def run(storage: Path, trials: int, at_once: int, nap_s: float) -> dict[str, Any]:
    """One simulated sweep. Rates and memory from the tenth trial on, when every process is warm."""
    job = _job(storage, trials)
    driver = Measured(job)
    driver.open()
    prepared = _prepare(job)
    with cluster(address=None, environment=worker_environment(1)):
        pool = Pool(at_once, resources={}, kind=sleeping(nap_s))
        driver.attack_costs = base_costs(ATTACKS, prepared, driver.store, timed=True)
        plan = SearchPlan(sampler="random", allocation="equal", trials=trials, seed=1)
        driver.broker = StudyBroker(job.directory / "study.journal", [SPACE], plan, identity={})
        search(driver, job, prepared, pool)
        processes = pool.trial_processes()
    (first, _), (last, at_end) = driver.marks[WARM], driver.marks[-1]
    third = len(driver.marks) // 3
    records = driver.records()
    naps = sum(len(record.stage_keys) for record in records[WARM + 1 :]) * nap_s / at_once
    return {
        "trials": len(records),
        "complete": sum(record.state == "complete" for record in records),
        "at_once": at_once,
        "seconds": round(last - first, 1),
        "seconds_of_the_stages_alone": round(naps, 1),
        "trials_per_s": round((len(driver.marks) - WARM - 1) / (last - first), 2),
        "engine_s_a_trial": round((last - first - naps) * at_once / (len(driver.marks) - WARM - 1), 3),
        "cpu_s_a_trial": round((driver.cpu_s[trials] - driver.cpu_s[WARM]) / (trials - WARM), 3),
        "trial_processes": processes,
        "driver_kib_a_trial": round((at_end - driver.marks[third][1]) / 1024 / (len(driver.marks) - third - 1), 1),
    }


def _job(storage: Path, trials: int) -> SweepJob:
    return SweepJob(
        name="simulated",
        seed=1,
        storage=storage,
        directory=storage / "simulated",
        benchmark=BenchmarkSettings(name="authors"),
        original=ModelSource(),
        gold=ModelSource(),
        spaces=[],
        training=TrainingSettings(epochs=1),
        ue_metrics=["probability"],
        ut_metrics=["probability"],
        attacks=ATTACKS,
        search=SearchSettings(sampler="random", trials=trials),
    )


def _prepare(job: SweepJob) -> Prepared:
    """Controls at their anchors: the original knows all, the gold model nothing, whatever the attack."""
    driver = Driver(job)
    runner = StageRunner(driver.store, EventLog(job.directory / "events.jsonl"))
    forget = {"original": 1.0, "gold": 0.0}

    def keep(frame: pd.DataFrame, outcome: Outcome) -> Callable[[Path], Outcome]:
        def write(folder: Path) -> Outcome:
            frame.to_parquet(folder / "rows.parquet", index=False)
            return outcome

        return write

    def whole(which: str) -> pd.DataFrame:
        return pd.concat([_rows("forget", forget[which]), _rows("retain", 1.0)], ignore_index=True)

    evaluations = {
        which: runner.run(
            measuring_requests.evaluate_stage(job, which, "d"), keep(whole(which), measured(2 * ROWS))
        ).key
        for which in forget
    }
    attacked = {
        attack.label: {
            which: runner.run(
                measuring_requests.attack_stage(job, attack, which, "original", "d"),
                keep(_attacked(1 - level), ATTACKED),
            ).key
            for which, level in forget.items()
        }
        for attack in job.attacks
    }
    ids = {which: which for which in forget}
    paths = {which: str(job.storage / which) for which in forget}
    for path in paths.values():  # else each trial looks for the original's recipe, to train it again
        Path(path).mkdir()
    return Prepared(data="d", paths=paths, ids=ids, evaluations=evaluations, attacks=attacked)


def _rows(split: str, probability: float) -> pd.DataFrame:
    names = [f"{split}{number}" for number in range(ROWS)]
    return pd.DataFrame({"row_id": names, "group_id": names, "split": split, "probability": [probability] * ROWS})


def _attacked(still_forgotten: float) -> pd.DataFrame:
    return _rows("forget", 1 - still_forgotten).assign(strength=1.0, unit="x")


if __name__ == "__main__":
    main()
