"""One fold over the event log: what runs since when, what is settled, what each stage has cost.

The live view feeds events as they appear, `status` and the report feed the whole log; both see the same state.
A resumed sweep clears what was open when the earlier driver died: that work is started again under new events.
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
"""A process or machine of the sweep was lost and replaced; what it was at was begun again."""

_PREPARATION_STATES: dict[str, Literal["running", "finished", "reused", "failed"]] = {
    "stage_started": "running",
    "stage_finished": "finished",
    "stage_reused": "reused",
    "stage_failed": "failed",
}


@dataclass(slots=True, kw_only=True)
class OpenStage:
    """A stage that has started and not ended. `started` in Unix seconds, `key` its place in the store."""

    stage: str
    started: float
    key: str | None = None
    attempt: int | None = None


@dataclass(slots=True, kw_only=True)
class OpenTrial:
    """A trial that was asked for and is not settled. `started` is None while it waits for a free slot."""

    number: int
    asked: float
    started: float | None = None
    data: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, OpenStage] = field(default_factory=dict)

    @property
    def method(self) -> str | None:
        """The method's name, where the log carries it."""
        method = self.data.get("method")
        return method if isinstance(method, str) else None


@dataclass(slots=True, kw_only=True)
class StageCost:
    """What all runs of one stage have cost so far: seconds of runs that ended well, and of those that failed."""

    runs: int = 0
    seconds: float = 0.0
    reused: int = 0
    failed: int = 0
    failed_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Preparation:
    """One stage outside any trial (training the original and gold models, measuring them), by its last known state.

    The same stage may occur for both models: they differ in their key.
    """

    stage: str
    key: str | None
    state: Literal["running", "finished", "reused", "failed", "stopped"]
    started: float | None = None
    seconds: float | None = None
    reason: str | None = None


@dataclass(slots=True, kw_only=True)
class Run:
    """One stretch of a sweep under one driver. `ended` is None where no ending was logged; `last` is its last event.

    `worked`: it has come to its first stage.
    """

    began: float
    last: float
    ended: float | None = None
    worked: bool = False
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Timeline:
    """The state of a sweep after the events seen so far.

    `open_finalists` are other seeds of settled trials under way, by trial and seed. `asked` holds what a trial was
    proposed with (method, params, key), `costs` are by stage and whether it belongs to a trial. Both are kept through
    restarts. `lost_seconds` were spent in stages that a kill cut off, `startup_seconds` before the first stage of each
    run, `waiting_seconds` between asking for a trial and its start.
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

    @classmethod
    def of(cls, events: Iterable[Event]) -> Timeline:
        """The timeline after all `events`, in the order of the log."""
        timeline = cls()
        for event in events:
            timeline.apply(event)
        return timeline

    def apply(self, event: Event) -> None:
        """Take one more event into account. Events this version does not know are counted and otherwise ignored."""
        self.counts[event.event] += 1
        self.last_time = event.time
        if event.event in RUN_BEGINS:
            self._begin(event)
        elif not self.runs:  # a log whose first line was lost still belongs to a run
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
        if event.event.startswith("stage_") and not self.runs[-1].worked:
            self.runs[-1].worked = True
            self.startup_seconds += max(0.0, event.time - self.runs[-1].began)
        if event.event == "stage_started":
            self.peak_stages = max(self.peak_stages, self._stages_open())
        elif event.event == "trial_started":
            started = sum(trial.started is not None for trial in self.open_trials.values())
            self.peak_trials = max(self.peak_trials, started)

    def elapsed_seconds(self, now: float, alive: bool) -> float:
        """Wall time of all runs, without pauses: a live run lasts until `now`, a dead one until its last event."""
        total = 0.0
        for index, run in enumerate(self.runs):
            last = run.ended if run.ended is not None else run.last
            if alive and index == len(self.runs) - 1 and run.ended is None:
                last = now
            total += max(0.0, last - run.began)
        return total

    def compute_seconds(self) -> float:
        """Seconds spent inside stages, over all of them, failed attempts included."""
        return sum(cost.seconds + cost.failed_seconds for cost in self.costs.values())

    def lost_work_seconds(self) -> float:
        """Seconds in stages that came to nothing: failed, or cut off."""
        return self.lost_seconds + sum(cost.failed_seconds for cost in self.costs.values())

    def _begin(self, event: Event) -> None:
        self._close()
        self.runs.append(Run(began=event.time, last=event.time, data=event.data))

    def _close(self) -> None:
        """Whatever was open when a run ended is lost until it is started again."""
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
        """What was open on the lost process is lost work; it is begun again under events of its own."""
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
        """How often a process or machine was lost and replaced, without the sweep's end."""
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
        if event.event == "stage_finished":
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
        """When each stage that is open began."""
        running = [*self.open_trials.values(), *self.open_finalists.values()]
        began = [stage.started for trial in running for stage in trial.stages.values()]
        parts = self.preparation.values()
        return began + [part.started for part in parts if part.state == "running" and part.started is not None]

    def _stages_open(self) -> int:
        running = [*self.open_trials.values(), *self.open_finalists.values()]
        in_trials = sum(len(trial.stages) for trial in running)
        return in_trials + sum(stage.state == "running" for stage in self.preparation.values())
