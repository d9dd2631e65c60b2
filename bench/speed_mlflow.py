"""What a trial costs in MLflow: `python bench/speed_mlflow.py`.

CPU seconds of this process to write sweeps of 20 trials with two stages each into SQLite, all at once, as `sync` does
after a sweep without MLflow. The first sweep, in a database of its own, is not counted: it imports MLflow and makes the
tables. `--profile` prints where the time of the last sweep goes.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import platform
import pstats
import statistics
import tempfile
import time
from pathlib import Path

import yaml

from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.store.records import Normalised, Objective, TrialRecord
from unlearn_sweep.engine.tracking.runs import default_tracking_uri
from unlearn_sweep.engine.tracking.sink import MlflowSink

TRIALS, ROUNDS = 20, 5
METRICS = ("probability", "rouge_l", "truth_ratio")
OUTCOME = TrainOutcome(
    steps=20, planned_steps=20, epochs=2, seconds=3.25, reference_seconds=0.5, tokens=9_000, terms={"forget": 1.0},
    curve=[{"step": step, "forget": 2.0 - step / 20} for step in range(20)], stopped_early=None, stop_reason=None,
    weights_finite=True, parameters=250_000, peak_memory_mib=300, world_size=1, backend="torch", dtype="float32",
    global_batch_rows=8, mean_answer_tokens=12, conventions={"normalise": "global"},
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}\n")
    with tempfile.TemporaryDirectory(prefix="mlflow-") as folder:
        taken = [cpu_seconds(Path(folder, str(turn)), options.trials) for turn in range(options.rounds + 1)][1:]
        if options.profile:
            with cProfile.Profile() as profile:
                cpu_seconds(Path(folder, "profiled"), options.trials)
            pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
    each = [seconds / options.trials for seconds in taken]
    print(f"CPU s a trial: {statistics.median(each):.4f} ({min(each):.4f} to {max(each):.4f})")


def cpu_seconds(storage: Path, trials: int) -> float:
    """CPU seconds of writing a sweep of so many trials; the sweep alone, with no trial yet, is written before."""
    folder = storage / "demo"
    sink = MlflowSink(folder, default_tracking_uri(storage), "demo")
    write_sweep(folder)
    sink.catch_up()
    for number in range(trials):
        (folder / "trials" / f"{number}.json").write_text(trial(number).model_dump_json(indent=1))
    began = time.process_time()
    written = sink.catch_up()
    taken = time.process_time() - began
    if written != trials:
        raise RuntimeError(f"{written} of {trials} trials were written")
    return taken


def write_sweep(folder: Path) -> None:
    (folder / "trials").mkdir(parents=True)
    job = {"name": "demo", "seed": 7, "benchmark": {"name": "authors", "params": {}}, "storage": str(folder.parent)}
    (folder / "spec.lock.yaml").write_text(yaml.safe_dump({"job": job, "starts": [], "identity": {"data": "c0ffee"}}))
    (folder / "spec.yaml").write_text("name: demo\nseed: 7\n")
    EventLog(folder / "events.jsonl").append("sweep_started", data={"trials": TRIALS})


def trial(number: int) -> TrialRecord:
    """A complete trial of a training and a measurement, without attacks."""
    began = 1_750_000_000.0 + 10 * number
    return TrialRecord(
        number=number,
        key=f"{number:016x}",
        method="npo",
        params={"beta": 0.1, "learning_rate": 1e-5 * (number + 1), "retain": "kl", "epochs": 2},
        seed=7,
        state="complete",
        ue=0.5,
        ut=0.9,
        report_ue=0.5,
        report_ut=0.9,
        ue_detail=objective("forget"),
        ut_detail=objective("retain"),
        stage_keys={"unlearn": f"aa{number:014x}", "evaluate": f"bb{number:014x}"},
        stage_seconds={"unlearn": 3.5, "evaluate": 1.25},
        started=began,
        finished=began + 9,
        training=OUTCOME,
    )


def objective(split: str) -> Objective:
    parts = tuple(
        Normalised(metric=metric, split=split, group="memorisation", value=0.25, original=0.9, gold=0.1, score=0.5)
        for metric in METRICS
    )
    return Objective(value=0.5, standard_error=0.02, parts=parts)


if __name__ == "__main__":
    main()
