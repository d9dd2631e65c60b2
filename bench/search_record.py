"""Record one sweep as a table, so that searches can be compared by replay (bench/search_replay.py).

    python bench/search_record.py run --storage DIR --rows FILE             # an hour of one core; stop and start it
    python bench/search_record.py run --storage DIR2 --rows FILE2 --skip 30 # later points of the same sequences, beside
    python bench/search_record.py pack --rows FILE FILE2                    # bench/search_record.csv.gz

Real trials of bench/search_record.yaml, one after the other, in this process, by the engine's own driver. No attack is
skipped. Each finished trial is a line of FILE: its settings, objectives on both halves with errors, every attack, and
the CPU seconds of each stage, which other work on the machine disturbs less than seconds do. The weights half-way
through a training are a trial of their own, without seconds of training. During a training the model is probed after a
quarter, half and three quarters of its steps: the mean probability of the answers of PROBED forget and retain rows of
the search half.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.store.outcomes import AttackOutcome, MeasureOutcome, TrainOutcome
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.training import worker
from unlearn_sweep.engine.training.checkpoint import Checkpoints
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.loop import Exporter
from unlearn_sweep.engine.training.state import History, Training

FILE = Path(__file__).with_suffix(".yaml")
TABLE = Path(__file__).with_suffix(".csv.gz")
RUNGS = (0.25, 0.5, 0.75)
PROBED = 24
"""Rows of each split that a probe reads."""
OBJECTIVES = ("ue", "ut", "rob")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("run", "pack"))
    parser.add_argument(
        "--rows", type=Path, nargs="+", required=True, help="JSON lines, one for each finished trial; pack joins files"
    )
    parser.add_argument("--storage", type=Path, help="where the sweep is kept")
    parser.add_argument("--skip", type=int, default=0, help="points of each method's sequence to leave out")
    parser.add_argument("--table", type=Path, default=TABLE, help="file that pack writes")
    options = parser.parse_args()
    if options.do == "run":
        if len(options.rows) != 1 or options.storage is None:
            parser.error("run wants --storage and one file of --rows")
        with later_points(options.skip):
            record(options.storage.resolve(), options.rows[0])
    else:
        pack(options.rows, options.table)


@dataclass(slots=True)
class Probe:
    """The model at one rung: mean probability of the answers, and the CPU seconds that the probe took."""

    rung: float
    step: int
    forget: float
    retain: float
    seconds: float


class Rungs:
    """Stands in for the checkpoints of a training: writes none, and probes the model at each rung."""

    def __init__(self) -> None:
        self.found: list[Probe] = []

    def resume(self, training: Training, history: History, accepts: object = None) -> int:
        return 0

    def offer(self, training: Training, history: History, *, now: bool = False) -> None:
        waiting = RUNGS[len(self.found) :]
        if waiting and history.steps >= waiting[0] * training.run.steps:
            self.found.append(probe(training, waiting[0], history.steps))

    def clear(self) -> None:
        """There is nothing to remove."""


def probe(training: Training, rung: float, step: int) -> Probe:
    """Forward passes over the probed rows. Leaves the training's random state and mode as they were."""
    import torch

    from unlearn_sweep.evaluators.evaluate import evaluate_rows
    from unlearn_sweep.evaluators.halves import search_halves

    began = time.process_time()
    benchmark = worker._DATA.benchmark(training.job.benchmark)
    means = {}
    for split in ("forget", "retain"):
        rows = benchmark.evaluation[split]
        seen = search_halves([(row.group_id, row.kind) for row in rows]).search
        with torch.random.fork_rng(devices=()):
            table = evaluate_rows(
                training.backend.module.model,  # pyright: ignore[reportAttributeAccessIssue]  # the torch backend
                training.run.tokenizer,
                [row for row in rows if row.group_id in seen][:PROBED],
                metrics=["probability"],
                template=benchmark.template,
                max_new_tokens=benchmark.max_new_tokens,
            ).table
        means[split] = float(table["probability"].to_numpy().mean())
    return Probe(rung, step, means["forget"], means["retain"], time.process_time() - began)


class TimedExporter:
    """Writes the weights of shares as `exporter` does, and counts its CPU seconds."""

    def __init__(self, exporter: Exporter) -> None:
        self.exporter = exporter
        self.seconds = 0.0

    def has_all_before(self, step: int) -> bool:
        return self.exporter.has_all_before(step)

    def write(self, history: History) -> bool:
        with self._timed():
            return self.exporter.write(history)

    def write_rest(self, history: History) -> None:
        with self._timed():
            self.exporter.write_rest(history)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds += time.process_time() - began


@dataclass
class Work:
    """What the stages of one trial took, in CPU seconds, and what the probes saw.

    `export` is the writing of the weights on the way, and is not part of `train`.
    """

    train: float | None = None
    export: float | None = None
    evaluate: float | None = None
    attacks: dict[str, float] = field(default_factory=dict)
    probes: list[Probe] = field(default_factory=list)


class Recorder(InProcessExecutor):
    """Counts the CPU seconds of each stage of the trial that runs, and probes its training."""

    def __init__(self, job: SweepJob) -> None:
        super().__init__()
        self.labels = {json.dumps([attack.name, attack.params], sort_keys=True): attack.label for attack in job.attacks}
        self.work = Work()

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome:
        rungs, began = Rungs(), time.process_time()
        with probed(rungs) as exporters:
            outcome = super().train(job, name=name)
        self.work.probes = rungs.found
        self.work.export = sum(exporter.seconds for exporter in exporters)
        probing = sum(found.seconds for found in rungs.found)
        self.work.train = time.process_time() - began - probing - self.work.export
        return outcome

    def measure(self, request: MeasureRequest) -> MeasureOutcome:
        began = time.process_time()
        outcome = super().measure(request)
        self.work.evaluate = time.process_time() - began
        return outcome

    def attack(self, request: AttackRequest) -> AttackOutcome:
        began = time.process_time()
        outcome = super().attack(request)
        label = self.labels[json.dumps([request.attack, request.params], sort_keys=True)]
        self.work.attacks[label] = time.process_time() - began
        return outcome


@contextmanager
def probed(rungs: Rungs) -> Iterator[list[TimedExporter]]:
    """Let trainings of this process probe their model in place of writing checkpoints. Yields their exporters."""
    loop, exporters = worker.train, list[TimedExporter]()

    def train(
        training: Training,
        on_progress: Any = None,
        checkpoints: Checkpoints | None = None,
        exporter: Exporter | None = None,
    ) -> History:
        if exporter is not None:
            exporters.append(TimedExporter(exporter))
            exporter = exporters[-1]
        return loop(training, on_progress, rungs, exporter)  # pyright: ignore[reportArgumentType]  # same three methods

    worker.train = train
    try:
        yield exporters
    finally:
        worker.train = loop


@contextmanager
def later_points(skip: int) -> Iterator[None]:
    """Let the study begin each method's Sobol sequence at point `skip`."""
    from unlearn_sweep.engine.study import turns

    point = turns.qmc_point
    turns.qmc_point = lambda space, index, seed: point(space, index + skip, seed)
    try:
        yield
    finally:
        turns.qmc_point = point


def record(storage: Path, rows: Path) -> None:
    """Run the sweep, or what is left of it."""
    import torch

    from unlearn_sweep.engine.driver.sweep import Driver
    from unlearn_sweep.engine.stages.attack_order import base_costs
    from unlearn_sweep.engine.stages.controls import write_controls
    from unlearn_sweep.engine.stages.prepare import Preparation
    from unlearn_sweep.engine.stages.runner import StageRunner
    from unlearn_sweep.engine.stages.trial import run_trial
    from unlearn_sweep.sweeps.file.spec import load_spec
    from unlearn_sweep.sweeps.resolve import Overrides, resolve

    torch.set_num_threads(1)
    job = resolve(load_spec(FILE), Overrides(storage=str(storage)))
    driver, executor = Driver(job), Recorder(job)
    driver.open()
    prepared = Preparation(job, StageRunner(driver.store, driver.events), [executor], in_turn=True).run()
    write_controls(job, prepared, driver.store)
    driver.attack_costs = base_costs(job.attacks, prepared, driver.store, timed=True)
    driver._open_broker(prepared)
    while (task := driver.next_task()) is not None:
        executor.work = Work()
        found = run_trial(task, job, prepared, executor)
        driver.settle(task, found)
        rows.parent.mkdir(parents=True, exist_ok=True)
        with rows.open("a") as file:
            file.write(json.dumps(line(found, executor.work)) + "\n")


def line(found: TrialRecord, work: Work) -> dict[str, Any]:
    """One finished trial. A stage that an earlier run had finished has no CPU seconds."""
    attacks = {
        attack.attack: [
            attack.value, attack.standard_error, attack.report_value, attack.report_standard_error,
            work.attacks.get(attack.attack),
        ]
        for attack in found.attacks
    }  # fmt: skip
    details = {
        name: None if detail is None else detail.standard_error
        for name in ("ue", "ut", "report_ue", "report_ut")
        for detail in [getattr(found, f"{name}_detail")]
    }
    return {
        "trial": found.number,
        "method": found.method,
        "params": found.params,
        "state": found.state,
        "reason": found.reason,
        "values": {name: getattr(found, f"{half}{name}") for half in ("", "report_") for name in OBJECTIVES},
        "errors": details,
        "attacks": attacks,
        "seconds": {"train": work.train, "evaluate": work.evaluate, "export": work.export},
        "wall": found.stage_seconds,
        "probes": [[one.rung, one.step, one.forget, one.retain, one.seconds] for one in work.probes],
    }


def pack(files: Sequence[Path], table: Path) -> None:
    """Write the rows as one compressed CSV file, one trial a line, numbers to six digits.

    Trials of later files are numbered behind those of earlier ones. A setting that two files have is kept once.
    """
    found: list[dict[str, Any]] = []
    known: set[tuple[str, str]] = set()
    for file in files:
        first = 1 + max((row["trial"] for row in found), default=-1)
        for text in file.read_text().splitlines():
            row = flat(json.loads(text))
            if (row["method"], row["params"]) not in known:
                known.add((row["method"], row["params"]))
                found.append({**row, "trial": first + row["trial"]})
    names = list(dict.fromkeys(name for row in found for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: short(row.get(name)) for name in names} for row in found)
    table.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    print(f"{table.name}: {len(found)} trials, {table.stat().st_size / 1000:.0f} kB")


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of FILE as columns: `params` as JSON, `<label>_*` for each attack, `probe<percent>_*` for each rung."""
    columns = {name: row[name] for name in ("trial", "method", "state", "reason")}
    columns |= {"params": json.dumps(row["params"], sort_keys=True)}
    columns |= row["values"] | {f"{name}_se": value for name, value in row["errors"].items()}
    columns |= {f"{name}_s": value for name, value in row["seconds"].items()}
    for label, numbers in row["attacks"].items():
        kinds = ("value", "se", "report", "report_se", "s")
        columns |= {f"{label}_{kind}": number for kind, number in zip(kinds, numbers, strict=True)}
    for rung, _, forget, retain, seconds in row["probes"]:
        name = f"probe{round(100 * rung)}"
        columns |= {f"{name}_forget": forget, f"{name}_retain": retain, f"{name}_s": seconds}
    return columns


def short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else value


if __name__ == "__main__":
    main()
