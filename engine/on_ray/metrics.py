"""Metrics of a running sweep through `ray.util.metrics`, for Prometheus. Ray writes `ray_` in front of each name.

A thread in the driver follows the event log and the front. The tag is the sweep's name, never a trial: a time series
for every trial would be a burden to Prometheus. `grafana_dashboard.json` beside this file shows them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from pydantic import ValidationError
from ray.util.metrics import Counter, Gauge, Histogram

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import Front
from unlearn_sweep.engine.tally import Tally, devices_held

PREFIX = "unlearn_sweep_"
EVERY_S = 2.0
STAGE_BOUNDS_S: list[float] = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000]
STOP_S = 10.0


class SweepMetrics:
    """The metrics of one sweep. Counts are of the whole sweep, also after a restart.

    Metrics: `trials` by state, `stages` by stage and result (finished, reused from the store, failed, lost),
    `stage_seconds` by stage, `gates` by reason, `attacks_skipped`, `hypervolume`, `front_size`, `device_hours` by
    device.
    """

    def __init__(self, job: SweepJob) -> None:
        self._folder = job.directory
        self._held = devices_held(job)
        self._wanted = job.search.trials
        self._log, self._offset = EventLog(job.directory / "events.jsonl"), 0
        self._tally = Tally()
        self._sweep = {"sweep": job.name}
        self._trials = self._gauge("trials", "Trials by state.", "state")
        self._stages = Counter(f"{PREFIX}stages", "Stages that ended, by result.", ("sweep", "stage", "result"))
        self._seconds = Histogram(
            f"{PREFIX}stage_seconds", "Seconds of finished stages.", STAGE_BOUNDS_S, ("sweep", "stage")
        )
        self._gates = self._gauge("gates", "Trials that ended before their attacks, by reason.", "reason")
        self._skipped = self._gauge("attacks_skipped", "Attacks that could not change the front and did not run.")
        self._hypervolume = self._gauge("hypervolume", "Hypervolume of the front.")
        self._front = self._gauge("front_size", "Trials on the front.")
        self._hours = self._gauge("device_hours", "Hours of all stages times the devices they held.", "device")

    def _gauge(self, name: str, description: str, *tags: str) -> Gauge:
        return Gauge(f"{PREFIX}{name}", description, ("sweep", *tags))

    def update(self) -> None:
        """Read new events and the front, and set the metrics."""
        for event, end in self._log.read_from(self._offset):
            self._offset = end
            ended = self._tally.apply(event, self._held)
            if ended is None:
                continue
            self._stages.inc(1, {**self._sweep, "stage": ended.stage, "result": ended.result})
            if ended.result == "finished":
                self._seconds.observe(ended.seconds, {**self._sweep, "stage": ended.stage})
        for state, count in self._tally.states(self._wanted).items():
            self._trials.set(count, {**self._sweep, "state": state})
        for reason in ("collapsed", "stopped", "infeasible"):
            self._gates.set(self._tally.gates[reason], {**self._sweep, "reason": reason})
        self._skipped.set(self._tally.skipped_attacks, self._sweep)
        for device, seconds in self._tally.device_seconds.items():
            self._hours.set(seconds / 3600, {**self._sweep, "device": device})
        self._read_front()

    def _read_front(self) -> None:
        """Set the metrics of the front. A file that is being written is read at the next update."""
        with contextlib.suppress(FileNotFoundError, ValidationError):
            front = Front.model_validate_json((self._folder / "progress.json").read_bytes())
            self._hypervolume.set(front.hypervolume, self._sweep)
            self._front.set(len(front.front), self._sweep)


@contextlib.contextmanager
def exported(job: SweepJob) -> Iterator[None]:
    """Export the metrics of a sweep from a thread of this process, which must be connected to Ray."""
    metrics, stop = SweepMetrics(job), threading.Event()

    def follow() -> None:
        while not stop.wait(EVERY_S):
            metrics.update()

    thread = threading.Thread(target=follow, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOP_S)
