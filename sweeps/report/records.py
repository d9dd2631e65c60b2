"""Read a sweep's folder: its records, the state from its event log, and whether a driver is running.

The sweep may be running, may have crashed while writing a line, or may contain files that this version cannot read.
Unreadable files do not prevent reading the others: `SweepData.problems` lists each one with the reason.
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

from pydantic import ValidationError

from unlearn_sweep.engine.search_settings import ObjectiveName, OtherSweep
from unlearn_sweep.engine.search_space import MethodSpace
from unlearn_sweep.engine.store.records import Controls, Front, TrialRecord
from unlearn_sweep.engine.store.snapshot import NotASweepError, Snapshot, read_snapshot
from unlearn_sweep.engine.study.front import front_of
from unlearn_sweep.sweeps.report.timeline import OpenTrial, Timeline
from unlearn_sweep.user_error import UserError

SweepState = Literal["running", "finished", "stopped", "not started"]
# Keys under which spec.lock.yaml may contain the resolved sweep; otherwise it is at the top level.
_SPEC_ROOTS = ("job", "spec")


class SweepNotFoundError(UserError, ValueError):
    """The folder is not a sweep. The message names the expected file and sweeps nearby."""

    advice = "Give the folder <storage>/<sweep name>."


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepData:
    """Everything on disk of one sweep.

    Attributes:
        directory: The sweep's folder.
        snapshot: The engine's snapshot of the records.
        timeline: The state that results from the event log.
        state: Whether the sweep is running, finished, stopped or not started.
        trials: The settled trials, by number.
        front: The Pareto front.
        front_source: Whether `front` was read from progress.json or computed from the trial records.
        problems: Files that could not be read, as "name: reason".
    """

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
        """The sweep's name from its spec, else the name of its folder."""
        name = self.spec_value("name")
        return name if isinstance(name, str) else self.directory.resolve().name

    @property
    def benchmark(self) -> str | None:
        """The benchmark's name; None if the spec does not contain it."""
        benchmark = self.spec_value("benchmark")
        name = benchmark.get("name") if isinstance(benchmark, dict) else benchmark
        return name if isinstance(name, str) else None

    @property
    def controls(self) -> Controls | None:
        """Scores of the original and the gold model; None until they are measured."""
        return self.snapshot.controls

    @property
    def trials_wanted(self) -> int | None:
        """Planned number of trials; None if neither progress.json nor the spec contains it."""
        if self.front_source == "progress.json":
            return self.front.trials_wanted
        return _wanted(self.snapshot)

    @property
    def objectives(self) -> list[ObjectiveName]:
        """The objectives of the search. Without attacks, Rob is not one of them."""
        return ["ue", "ut"] if self.spec_value("attacks") == [] else ["ue", "ut", "rob"]

    @property
    def open_trials(self) -> list[OpenTrial]:
        """Unfinished trials of a running sweep, by number. Empty if the driver is not running."""
        if self.state != "running":
            return []
        settled = {trial.number for trial in self.trials}
        return [trial for number, trial in sorted(self.timeline.open_trials.items()) if number not in settled]

    def spec_value(self, *path: str) -> Any:
        """Return the value at these nested keys of the resolved sweep; None if absent."""
        return spec_value(self.snapshot, *path)

    def spaces(self) -> list[MethodSpace]:
        """Return the search space of each method; empty if this version cannot read them."""
        try:
            return [MethodSpace.from_json(space) for space in self.spec_value("spaces") or ()]
        except (KeyError, TypeError, ValueError):
            return []

    def other_sweeps(self) -> list[OtherSweep]:
        """Return what the sweeps that this one learns from measured; empty if this version cannot read it."""
        try:
            return [OtherSweep.model_validate(other) for other in self.spec_value("search", "others") or ()]
        except ValidationError:
            return []


def read_sweep(directory: Path | str) -> SweepData:
    """Read everything on disk of the sweep in `directory`. Compute the front from the records if it is not written yet.

    Raises:
        SweepNotFoundError: The folder does not exist or is not a sweep.
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
    """Disable Python's cyclic garbage collection inside the block.

    Reading a sweep of 10,000 trials allocates millions of small objects that all stay alive. Repeated collections took
    half of the reading time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def sweep_state(folder: Path, timeline: Timeline) -> SweepState:
    """Return the state. If no ending is logged, the sweep is "stopped" if the driver's lock is free, else "running"."""
    if not timeline.runs:
        return "not started"
    if timeline.runs[-1].ended is not None:
        return "finished" if timeline.last_ending == "sweep_finished" else "stopped"
    return "stopped" if driver_holds_lock(folder) is False else "running"


def driver_holds_lock(folder: Path) -> bool | None:
    """Return whether a process holds the sweep's lock; None if the lock file cannot be opened or locked."""
    try:
        with (folder / "driver.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def spec_value(snapshot: Snapshot, *path: str) -> Any:
    """Return the value at these nested keys of the resolved sweep; None if absent."""
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
    """Return a hint for the error message: sweeps inside the folder, or next to it if it does not exist."""
    parent = folder if folder.is_dir() else folder.parent
    sweeps = sorted(path.parent.name for path in parent.glob("*/events.jsonl"))
    near = difflib.get_close_matches(folder.name, sweeps, n=1)
    return f"; did you mean {parent / near[0]}?" if near else f"; sweeps there: {', '.join(sweeps)}" if sweeps else ""
