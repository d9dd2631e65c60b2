"""Run a stage: return the cached result, wait for another process that computes it, or compute it. Log the events."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.out_of_memory import says_out_of_memory
from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.process_lost import ProcessLostError
from unlearn_sweep.engine.resources.memory_shortage import ExclusiveStageLock
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import AttackOutcome, JudgeCost, MeasureOutcome, TrainOutcome
from unlearn_sweep.engine.store.records import Outcome, StageResult
from unlearn_sweep.engine.store.stages import StageRequest, StageStore
from unlearn_sweep.user_error import EXIT_FAILED, UserError

REASON_CHARS = 2000
STOPPING = "the sweep is stopping"
_RUNNING: ContextVar[str | None] = ContextVar("running_stage", default=None)
LOSSES_OF_A_STAGE = 5
"""How often a stage is restarted after its process was lost. Bounds the restarts of a stage that kills its process."""


class ClusterLostError(UserError):
    """Ray on the driver's machine is lost. Nothing can run any more, and no trial is at fault."""

    status = EXIT_FAILED
    advice = "Finished work is kept: rerun the same command to resume."


class StageFailedError(UserError):
    """A stage did not finish. Has the stage's name and the reason, for the trial record."""

    status = EXIT_FAILED

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason

    @property
    def kind(self) -> str:
        """Type name of the error that caused the failure."""
        return self.reason.partition(":")[0]

    def __reduce__(self) -> tuple[type[StageFailedError], tuple[str, str]]:
        return type(self), (self.stage, self.reason)


class TrainingStoppedError(Exception):
    """A training ended before its time, since the front would beat its end. It leaves no stage, but its outcome."""

    def __init__(self, outcome: TrainOutcome) -> None:
        super().__init__(outcome.stop_reason)
        self.outcome = outcome

    def __reduce__(self) -> tuple[type[TrainingStoppedError], tuple[TrainOutcome]]:
        return type(self), (self.outcome,)


class _ShortOfMemoryError(RuntimeError):
    """A stage ran out of memory while others could run. Its event is written; the stage is retried once, alone."""


class StageRunner:
    """Runs the stages of one trial (or of the preparation if `trial` is None) with one store and one event log.

    Attributes:
        store: the stage store.
        events: the event log.
        stage_lock: lock shared by all runners of the sweep; runs a stage alone after it ran out of
            memory.
        trial: number of the trial, or None.
        attempt: number of the attempt at this trial, from 1.
        mark: data written with every event.
        title: what runs the stages, for views of processes: "trial 7 npo"; None for the preparation.
        seconds: duration of each stage that ended; 0 if it was reused.
        keys: key of each stage.
        reused: stages whose result came from the store.
        judging: cost of external judges by stage.
    """

    def __init__(
        self,
        store: StageStore,
        events: EventLog,
        *,
        trial: int | None = None,
        attempt: int = 1,
        mark: Mapping[str, Any] | None = None,
        title: str | None = None,
        stage_lock: ExclusiveStageLock | None = None,
    ) -> None:
        self.store = store
        self.events = events
        self.stage_lock = stage_lock or ExclusiveStageLock(events.path.parent)
        self.trial = trial
        self.attempt = attempt
        self.mark = dict(mark or {})
        self.title = title
        self.seconds: dict[str, float] = {}
        self.keys: dict[str, str] = {}
        self.reused: list[str] = []
        self._found: set[str] = set()
        self.judging: dict[str, dict[str, JudgeCost]] = {}
        self._abandoned = False

    def abandon(self) -> None:
        """Log no more failures and start no further stage: the process is stopping, and its stages end with it."""
        self._abandoned = True

    def run(self, request: StageRequest[Outcome], compute: Callable[[Path], Outcome]) -> StageResult:
        """Return the stage's result, from the store if it is finished, else computed.

        A stage that runs out of memory is retried once, alone: after all running stages of the sweep have ended and
        before any other starts. The memory it lacked may have been used by those stages.

        Raises:
            StageFailedError: the stage failed, and its event is written; or the process is stopping.
            TrainingStoppedError: `compute` raised it; its event is written, and nothing is stored.
        """
        if self._abandoned:
            raise StageFailedError(request.stage, STOPPING)
        self.keys[request.stage] = request.key
        found = self.store.find(request)
        if found is not None:
            return self._reuse(request, found)
        with contextlib.suppress(_ShortOfMemoryError):
            return self._run(request, compute, alone=False)
        return self._run(request, compute, alone=True)  # not in a handler: the error keeps the memory in use

    def recall(self, request: StageRequest[Outcome]) -> StageResult | None:
        """Return the result of a finished stage and count it as reused, even if its weights were evicted; or None."""
        found = self.store.recall(request)
        if found is None:
            return None
        self.keys[request.stage] = request.key
        return self._reuse(request, found)

    def restore(self, request: StageRequest[Outcome], make: Callable[[Path, Path, Outcome], None]) -> bool:
        """Put an evicted model back from its kept adapter (`StageStore.restore`). Return whether it is in the store.

        An adapter that cannot be used is noted, and the caller trains again.
        """
        if self._abandoned:
            raise StageFailedError(request.stage, STOPPING)
        with durable.file_lock(self.store.lock(request.key)):
            if self.store.find(request) is not None:
                return True
            if not self.store.has_adapter(request.key):
                return False
            try:
                problem = self.store.restore(request, make)
            except Exception as error:  # whatever it is, a training can make the model
                problem = reason_of(error)
            if problem is not None:
                self._event("note", request, reason=f"its model was not made from the kept adapter: {problem}")
            return problem is None

    def leave(self, request: StageRequest[Outcome], move: Callable[[Path], Outcome]) -> None:
        """Store a stage that another one has made on its way, unless it is finished. It is not this trial's own."""
        with durable.file_lock(self.store.lock(request.key)):
            if self.store.find(request) is None:
                self.store.compute(request, move)

    def _run(self, request: StageRequest[Outcome], compute: Callable[[Path], Outcome], *, alone: bool) -> StageResult:
        with self.stage_lock.enter(alone=alone), durable.file_lock(self.store.lock(request.key)):
            found, damage = self.store.look(request)  # another process may have finished it while we waited
            if found is not None:
                return self._reuse(request, found)
            if damage is not None:
                self._event("note", request, reason=f"damaged, so the stage runs again: {damage}")
            return self._compute(request, compute, alone=alone)

    def _reuse(self, request: StageRequest[Outcome], found: StageResult) -> StageResult:
        self.seconds.setdefault(request.stage, 0.0)
        if request.stage not in self.reused and not self.seconds[request.stage]:
            self.reused.append(request.stage)
        self._note_judging(request, found)
        if request.key not in self._found:  # else its result was recalled before its weights were asked for
            self._found.add(request.key)
            self._event("stage_reused", request, seconds=0.0)
        return found

    def _compute(
        self, request: StageRequest[Outcome], compute: Callable[[Path], Outcome], *, alone: bool
    ) -> StageResult:
        losses = 0
        while True:
            self._event("stage_started", request)
            began = time.perf_counter()
            try:
                with _named(self.title, request.stage):
                    result = self.store.compute(request, compute)
            except TrainingStoppedError as stop:
                self.seconds[request.stage] = time.perf_counter() - began
                reason, seconds = stop.outcome.stop_reason, self.seconds[request.stage]
                self._event("stage_stopped", request, seconds=seconds, reason=reason)
                raise
            except Exception as error:  # any failure: the stage restarts, or the error names the stage
                losses += isinstance(error, ProcessLostError)
                self._tell_failure(request, error, seconds=time.perf_counter() - began, losses=losses, alone=alone)
                continue
            self._tell_finish(request, result, seconds=time.perf_counter() - began)
            return result

    def _tell_failure(
        self, request: StageRequest[Outcome], error: Exception, *, seconds: float, losses: int, alone: bool
    ) -> None:
        """Log a failed stage. Return if it must restart at once, else raise.

        Raises:
            StageFailedError: the stage failed for good, or the process is stopping.
            _ShortOfMemoryError: the stage ran out of memory and must be retried alone.
        """
        if self._abandoned:
            raise StageFailedError(request.stage, STOPPING) from error
        reason = reason_of(error)
        if says_out_of_memory(error):
            if not alone:
                self._event("stage_lost", request, seconds=seconds, reason=f"{reason}; it will be retried alone")
                raise _ShortOfMemoryError(reason) from error
            reason = f"{reason}; no other stage of the sweep was running"
        elif isinstance(error, ProcessLostError) and losses <= LOSSES_OF_A_STAGE:
            self._event("stage_lost", request, seconds=seconds, reason=reason)
            return
        self._event("stage_failed", request, seconds=seconds, reason=reason)
        self.seconds[request.stage] = seconds
        raise StageFailedError(request.stage, reason) from error

    def _tell_finish(self, request: StageRequest[Outcome], result: StageResult, *, seconds: float) -> None:
        self.seconds[request.stage] = seconds
        self.reused = [stage for stage in self.reused if stage != request.stage]  # recalled, then run for its weights
        outcome = result.outcome(request.outcome)
        passes = {"forward_passes": outcome.forward_passes} if isinstance(outcome, MeasureOutcome) else {}
        processes = outcome.processes if isinstance(outcome, MeasureOutcome | AttackOutcome) else 1
        shared = {"processes": processes} if processes > 1 else {}
        costs = self._note_judging(request, result)
        judging = {"judging": {judge: cost.model_dump() for judge, cost in costs.items()}} if costs else {}
        self._event("stage_finished", request, seconds=seconds, data={**self.mark, **passes, **shared, **judging})

    def _note_judging(self, request: StageRequest[Outcome], result: StageResult) -> dict[str, JudgeCost]:
        """Keep a stage's cost of external judges for the trial's record and return it; empty if it used none."""
        outcome = result.outcome(request.outcome)
        costs = outcome.judging if isinstance(outcome, MeasureOutcome | AttackOutcome) else {}
        if costs:
            self.judging[result.stage] = costs
        return costs

    def _event(self, event: str, request: StageRequest[Outcome], **fields: Any) -> None:
        self.events.append(
            event,
            trial=self.trial,
            stage=request.stage,
            stage_key=request.key,
            attempt=self.attempt,
            **{"data": self.mark, **fields},
        )


def running_stage() -> str | None:
    """Return the stage that this thread computes, as people read it: "trial 7 npo attack relearn". None if none."""
    return _RUNNING.get()


@contextlib.contextmanager
def _named(title: str | None, stage: str) -> Iterator[None]:
    shown = stage.replace(":", " ")
    token = _RUNNING.set(shown if shown.startswith("prepare") else f"{title or 'prepare'} {shown}")
    try:
        yield
    finally:
        _RUNNING.reset(token)


def reason_of(error: BaseException) -> str:
    """Return type and message of an error, without the wrapper of a remote error, and with secrets redacted.

    At most `REASON_CHARS` characters.
    """
    cause = getattr(error, "cause", None)
    inner = cause if isinstance(cause, BaseException) else error
    return redact(f"{type(inner).__name__}: {inner}")[:REASON_CHARS]
