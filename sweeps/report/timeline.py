"""Compute the state of a sweep from its event log: running and settled trials, and the time spent per stage.

The live view applies events one by one as they are logged; `status` and the report apply the whole log. Both get the
same state. When a sweep resumes, work that was unfinished when the previous driver died is dropped: it is restarted and
logged with new events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from unlearn_sweep.engine.store.records import Event

RUN_BEGINS = frozenset({"sweep_started", "sweep_resumed"})
RUN_ENDS = frozenset({"sweep_finished", "sweep_stopped"})
PROCESS_LOSSES = frozenset({"stage_lost", "trial_lost", "finalist_lost"})
"""Events logged when a process or machine is lost and replaced. Its work is restarted."""

PLANNED_SECONDS = "planned_seconds"
"""Key in the data of a note: seconds that the plan expects the run to take from there on."""

PLACES = "concurrent_trials"
"""Key in the data of a note: how many trials have found room at once from there on."""

_PREPARATION_STATES: dict[str, Literal["running", "finished", "reused", "failed"]] = {
    "stage_started": "running",
    "stage_finished": "finished",
    "stage_reused": "reused",
    "stage_failed": "failed",
}


@dataclass(slots=True, kw_only=True)
class OpenStage:
    """A running stage. `started` is in Unix seconds, `key` is its key in the stage store."""

    stage: str
    started: float
    key: str | None = None
    attempt: int | None = None


@dataclass(slots=True, kw_only=True)
class OpenTrial:
    """A trial that was proposed and is not settled.

    Attributes:
        asked: When it was proposed, in Unix seconds.
        started: When it started, in Unix seconds; None while it waits for a free slot.
        data: Method, parameters and key from its events.
        stages: Its running stages, by name.
    """

    number: int
    asked: float
    started: float | None = None
    data: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, OpenStage] = field(default_factory=dict)

    @property
    def method(self) -> str | None:
        """The method's name; None if the log does not contain it."""
        method = self.data.get("method")
        return method if isinstance(method, str) else None


@dataclass(slots=True, kw_only=True)
class StageCost:
    """Counts and seconds of all runs of one stage. `seconds` covers successful runs, `failed_seconds` failed ones."""

    runs: int = 0
    seconds: float = 0.0
    reused: int = 0
    failed: int = 0
    failed_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Preparation:
    """Last known state of a stage outside any trial, such as training or measuring the original or gold model.

    A stage that runs for both models has two entries with different keys.
    """

    stage: str
    key: str | None
    state: Literal["running", "finished", "reused", "failed", "stopped"]
    started: float | None = None
    seconds: float | None = None
    reason: str | None = None


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of the driver. Times are in Unix seconds.

    Attributes:
        began: Time of its first event.
        last: Time of its latest event.
        ended: Time of its ending; None if no ending was logged.
        worked: Whether its first stage has been reached.
        data: Data of the event that began it.
    """

    began: float
    last: float
    ended: float | None = None
    worked: bool = False
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Timeline:
    """State of a sweep after the events applied so far.

    Attributes:
        runs: All runs of the driver, in order.
        open_trials: Unfinished trials, by number.
        open_finalists: Unfinished runs of settled trials with other seeds, by trial number and seed.
        lost_trials: Numbers of trials that were unfinished when a run ended and have not restarted.
        asked: Method, parameters and key that each trial was proposed with, by number. Kept across restarts.
        settled: The settling event of each settled trial, by number.
        preparation: Stages outside trials, by name and key.
        costs: Counts and seconds by stage name and whether it is part of a trial. Kept across restarts.
        counts: Number of events by kind.
        last_ending: Kind of the last event that ended a run; None if none did.
        last_time: Time of the last event, in Unix seconds; None before the first.
        peak_stages: Highest number of stages that ran at once.
        peak_trials: Highest number of started trials at once.
        lost_seconds: Seconds in stages that were killed.
        startup_seconds: Seconds before the first stage of each run, summed over runs.
        waiting_seconds: Seconds between proposing a trial and starting it, summed over trials.
        planned_end: When the plan expects the last run to end, in Unix seconds; None if its log has no plan.
        places: How many trials find room at once in the last run; None if its log does not say.
    """

    runs: list[Run] = field(default_factory=list)
    open_trials: dict[int, OpenTrial] = field(default_factory=dict)
    open_finalists: dict[tuple[int, int], OpenTrial] = field(default_factory=dict)
    lost_trials: set[int] = field(default_factory=set)
    asked: dict[int, dict[str, Any]] = field(default_factory=dict)
    settled: dict[int, Event] = field(default_factory=dict)
    preparation: dict[tuple[str, str | None], Preparation] = field(default_factory=dict)
    costs: dict[tuple[str, bool], StageCost] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    last_ending: str | None = None
    last_time: float | None = None
    peak_stages: int = 0
    peak_trials: int = 0
    lost_seconds: float = 0.0
    startup_seconds: float = 0.0
    waiting_seconds: float = 0.0
    planned_end: float | None = None
    places: int | None = None

    @classmethod
    def of(cls, events: Iterable[Event]) -> Timeline:
        """Return the timeline after applying all `events`, which must be in log order."""
        timeline = cls()
        for event in events:
            timeline.apply(event)
        return timeline

    def apply(self, event: Event) -> None:
        """Update the state with one event. Unknown kinds of events are counted and otherwise ignored."""
        self.counts[event.event] += 1
        self.last_time = event.time
        if event.event in RUN_BEGINS:
            self._begin(event)
        elif not self.runs:  # the first line of the log is missing: assume a run
            self.runs.append(Run(began=event.time, last=event.time))
        self.runs[-1].last = event.time
        if event.event in RUN_ENDS:
            self._close()
            self.runs[-1].ended = event.time
            self.last_ending = event.event
        elif event.event in PROCESS_LOSSES:
            self._lose(event)
        elif event.event.startswith("trial_") and event.trial is not None:
            self._trial(event, event.trial)
        elif event.event.startswith("finalist_") and event.trial is not None:
            self._finalist(event, event.trial)
        elif event.event.startswith("stage_") and event.stage is not None:
            self._stage(event, event.stage)
        elif event.event == "note":
            self._note(event)
        if event.event.startswith("stage_") and not self.runs[-1].worked:
            self.runs[-1].worked = True
            self.startup_seconds += max(0.0, event.time - self.runs[-1].began)
        if event.event == "stage_started":
            self.peak_stages = max(self.peak_stages, self._stages_open())
        elif event.event == "trial_started":
            started = sum(trial.started is not None for trial in self.open_trials.values())
            self.peak_trials = max(self.peak_trials, started)

    def elapsed_seconds(self, now: float, alive: bool) -> float:
        """Return the wall time of all runs, without the pauses between them.

        A run without a logged ending lasts until `now` if it is the latest and `alive`, else until its last event.
        """
        total = 0.0
        for index, run in enumerate(self.runs):
            last = run.ended if run.ended is not None else run.last
            if alive and index == len(self.runs) - 1 and run.ended is None:
                last = now
            total += max(0.0, last - run.began)
        return total

    def running_seconds(self, now: float) -> float:
        """Return the seconds that the stages running at `now`, in Unix seconds, have spent so far, summed."""
        return sum(max(0.0, now - started) for started in self._open_since())

    def compute_seconds(self) -> float:
        """Return the seconds spent in all stages that ended, including failed attempts."""
        return sum(cost.seconds + cost.failed_seconds for cost in self.costs.values())

    def lost_work_seconds(self) -> float:
        """Return the seconds spent in stages that failed or were killed."""
        return self.lost_seconds + sum(cost.failed_seconds for cost in self.costs.values())

    def _note(self, event: Event) -> None:
        if isinstance(seconds := event.data.get(PLANNED_SECONDS), int | float):
            self.planned_end = event.time + seconds
        if isinstance(places := event.data.get(PLACES), int):
            self.places = places

    def _begin(self, event: Event) -> None:
        self._close()
        self.planned_end = self.places = None
        self.runs.append(Run(began=event.time, last=event.time, data=event.data))

    def _close(self) -> None:
        """Mark everything that is unfinished at the end of a run as lost."""
        if self.runs:
            self.lost_seconds += sum(max(0.0, self.runs[-1].last - started) for started in self._open_since())
        self.lost_trials.update(self.open_trials)
        self.open_trials.clear()
        self.open_finalists.clear()
        for stage in self.preparation.values():
            if stage.state == "running":
                stage.state = "stopped"

    def _trial(self, event: Event, number: int) -> None:
        if event.event == "trial_settled":
            self.open_trials.pop(number, None)
            self.lost_trials.discard(number)
            self.settled[number] = event
            return
        self.asked.setdefault(number, {}).update(event.data)
        trial = self.open_trials.setdefault(number, self._opened(number, event.time))
        self.lost_trials.discard(number)
        if event.event == "trial_started":
            if trial.started is None:
                self.waiting_seconds += max(0.0, event.time - trial.asked)
            trial.started = event.time

    def _lose(self, event: Event) -> None:
        """Count the work on a lost process as lost. Its restart is logged with new events."""
        if event.event == "stage_lost":
            self.lost_seconds += event.seconds or 0.0
        if event.trial is None:
            return
        seed = event.data.get("seed")
        trial = self.open_trials.get(event.trial) if seed is None else self.open_finalists.get((event.trial, int(seed)))
        if trial is None:
            return
        if event.event == "stage_lost":
            trial.stages.pop(event.stage or "", None)
            return
        self.lost_seconds += sum(max(0.0, event.time - stage.started) for stage in trial.stages.values())
        trial.stages.clear()

    def processes_lost(self) -> int:
        """Return how often a process or machine was lost and replaced while the sweep continued."""
        return sum(self.counts[name] for name in PROCESS_LOSSES)

    def _finalist(self, event: Event, number: int) -> None:
        place = (number, int(event.data.get("seed", 0)))
        if event.event == "finalist_settled":
            self.open_finalists.pop(place, None)
            return
        opened = self._opened(number, event.time)
        opened.started = event.time
        self.open_finalists[place] = opened

    def _stage(self, event: Event, stage: str) -> None:
        cost = self.costs.setdefault((stage, event.trial is not None), StageCost())
        seconds = event.seconds or 0.0
        if event.event in ("stage_finished", "stage_stopped"):
            cost.runs += 1
            cost.seconds += seconds
        elif event.event == "stage_failed":
            cost.failed += 1
            cost.failed_seconds += seconds
        elif event.event == "stage_reused":
            cost.reused += 1
        if event.trial is None:
            self._prepare(event, stage)
        else:
            self._advance(event, stage, event.trial)

    def _opened(self, number: int, time: float) -> OpenTrial:
        return OpenTrial(number=number, asked=time, data=self.asked.setdefault(number, {}))

    def _advance(self, event: Event, stage: str, number: int) -> None:
        seed = event.data.get("seed")
        trial = self.open_trials.get(number) if seed is None else self.open_finalists.get((number, int(seed)))
        if trial is None:
            if number in self.settled:
                return
            trial = self.open_trials[number] = self._opened(number, event.time)
        if event.event == "stage_started":
            trial.stages[stage] = OpenStage(stage=stage, started=event.time, key=event.stage_key, attempt=event.attempt)
            trial.started = trial.started or event.time
        else:
            trial.stages.pop(stage, None)

    def _prepare(self, event: Event, stage: str) -> None:
        state = _PREPARATION_STATES.get(event.event)
        if state is None:
            return
        place = (stage, event.stage_key)
        known = self.preparation.get(place)
        started = event.time if state == "running" else known.started if known else None
        self.preparation[place] = Preparation(
            stage=stage, key=event.stage_key, state=state, started=started, seconds=event.seconds, reason=event.reason
        )

    def _open_since(self) -> list[float]:
        """Return the start time of every running stage."""
        running = [*self.open_trials.values(), *self.open_finalists.values()]
        began = [stage.started for trial in running for stage in trial.stages.values()]
        parts = self.preparation.values()
        return began + [part.started for part in parts if part.state == "running" and part.started is not None]

    def _stages_open(self) -> int:
        running = [*self.open_trials.values(), *self.open_finalists.values()]
        in_trials = sum(len(trial.stages) for trial in running)
        return in_trials + sum(stage.state == "running" for stage in self.preparation.values())
