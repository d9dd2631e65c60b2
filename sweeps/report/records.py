"""Opening a sweep's folder: the engine's snapshot of its records, its event log folded, and whether a driver is at it.

A sweep may be running, may have died in the middle of a line, or hold one file this version cannot read. None of that
hides the rest: what cannot be read is listed in `SweepData.problems` with its place and reason.
"""

from __future__ import annotations

import difflib
import fcntl
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unlearn_sweep.engine.store.records import Controls, Front, TrialRecord
from unlearn_sweep.engine.store.snapshot import NotASweepError, Snapshot, read_snapshot
from unlearn_sweep.engine.study.front import front_of
from unlearn_sweep.sweeps.report.timeline import OpenTrial, Timeline

SweepState = Literal["running", "finished", "stopped", "not started"]
ObjectiveName = Literal["ue", "ut", "rob"]
# A lock file holds the resolved sweep under one of these, or at its top.
_SPEC_ROOTS = ("job", "spec")


class SweepNotFoundError(ValueError):
    """The folder is no sweep's; the message says what was looked for and which sweeps are near."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepData:
    """What is on disk of one sweep. `trials` are the settled ones by number, `timeline` the folded event log."""

    directory: Path
    snapshot: Snapshot
    timeline: Timeline
    state: SweepState
    trials: list[TrialRecord]
    front: Front
    front_source: Literal["progress.json", "trial records"]
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The sweep's name by its spec, else by its folder."""
        name = self.spec_value("name")
        return name if isinstance(name, str) else self.directory.resolve().name

    @property
    def benchmark(self) -> str | None:
        """The benchmark's name, None where the spec does not tell."""
        benchmark = self.spec_value("benchmark")
        name = benchmark.get("name") if isinstance(benchmark, dict) else benchmark
        return name if isinstance(name, str) else None

    @property
    def controls(self) -> Controls | None:
        """Original and gold model, None until they are measured."""
        return self.snapshot.controls

    @property
    def trials_wanted(self) -> int | None:
        """How many trials the sweep is to have, None where neither front nor spec tells."""
        if self.front_source == "progress.json":
            return self.front.trials_wanted
        return _wanted(self.snapshot)

    @property
    def objectives(self) -> list[ObjectiveName]:
        """What is searched for: without attacks there is no Rob."""
        return ["ue", "ut"] if self.spec_value("attacks") == [] else ["ue", "ut", "rob"]

    @property
    def open_trials(self) -> list[OpenTrial]:
        """Trials under way in a live sweep, by number. A dead driver's trials are not under way."""
        if self.state != "running":
            return []
        settled = {trial.number for trial in self.trials}
        return [trial for number, trial in sorted(self.timeline.open_trials.items()) if number not in settled]

    def spec_value(self, *path: str) -> Any:
        """A value of the resolved sweep by its keys; None where absent."""
        return spec_value(self.snapshot, *path)


def read_sweep(directory: Path | str) -> SweepData:
    """Everything on disk of the sweep in `directory`. Where no front is written yet, it is looked up among the records.

    Raises:
        SweepNotFoundError: there is no such folder, or it holds no sweep.
    """
    folder = Path(directory)
    try:
        with no_garbage_collection():
            snapshot = read_snapshot(folder)
            timeline = Timeline.of(snapshot.events)
    except NotASweepError as error:
        raise SweepNotFoundError(f"{error}{_nearby(folder)}") from None
    trials = snapshot.records
    return SweepData(
        directory=folder,
        snapshot=snapshot,
        timeline=timeline,
        state=sweep_state(folder, timeline),
        trials=trials,
        front=snapshot.front or front_of(trials, wanted=_wanted(snapshot) or len(trials)),
        front_source="progress.json" if snapshot.front else "trial records",
        problems=[f"{name}: {reason}" for name, reason in snapshot.unreadable.items()],
    )


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """No search for reference cycles meanwhile.

    A sweep of 10,000 trials is millions of small objects, all of them needed: looking through them again and again
    took half of the time of reading them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def sweep_state(folder: Path, timeline: Timeline) -> SweepState:
    """Running, finished or stopped. Without an ending in its log, a sweep runs only while a driver holds its lock."""
    if not timeline.runs:
        return "not started"
    if timeline.runs[-1].ended is not None:
        return "finished" if timeline.last_ending == "sweep_finished" else "stopped"
    return "stopped" if driver_holds_lock(folder) is False else "running"


def driver_holds_lock(folder: Path) -> bool | None:
    """Whether a live process on this machine holds the sweep's lock; None where there is no lock file to ask."""
    try:
        with (folder / "driver.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def spec_value(snapshot: Snapshot, *path: str) -> Any:
    """A value of the resolved sweep by its keys; None where absent."""
    for root in (*(snapshot.spec.get(name) for name in _SPEC_ROOTS), snapshot.spec):
        value: Any = root
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def _wanted(snapshot: Snapshot) -> int | None:
    trials = spec_value(snapshot, "search", "trials")
    return trials if isinstance(trials, int) else None


def _nearby(folder: Path) -> str:
    """A hint for somebody who gave the wrong folder: the sweeps beside or inside it."""
    parent = folder if folder.is_dir() else folder.parent
    sweeps = sorted(path.parent.name for path in parent.glob("*/events.jsonl"))
    near = difflib.get_close_matches(folder.name, sweeps, n=1)
    return f"; did you mean {parent / near[0]}?" if near else f"; sweeps there: {', '.join(sweeps)}" if sweeps else ""
