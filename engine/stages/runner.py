"""Runs one stage: find it finished, or wait for whoever is at it, or run it; and write down what happened."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.privacy import redact
from unlearn_sweep.engine.resources.memory_shortage import Room, says_out_of_memory
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import StageResult
from unlearn_sweep.engine.store.stages import StageRequest, StageStore

REASON_CHARS = 2000
TOLD = ("forward_passes",)
"""Numbers of a stage's result that are written with its end, for whoever watches."""
STOPPING = "the sweep is stopping"
LOSSES_OF_A_STAGE = 5
"""How often a stage is begun again because its process was lost. A stage that ends its process itself ends here."""


class ProcessLostError(RuntimeError):
    """The process that worked on a stage is gone: killed, or its machine is. No fault of the stage."""


class ClusterLostError(RuntimeError):
    """Ray on the driver's own machine is gone: nothing runs any more, and no trial is at fault."""


class StageFailedError(RuntimeError):
    """A stage did not finish. Carries what a trial record needs: which stage, and why."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason

    @property
    def kind(self) -> str:
        """Type of the error behind it."""
        return self.reason.partition(":")[0]

    def __reduce__(self) -> tuple[type[StageFailedError], tuple[str, str]]:
        return type(self), (self.stage, self.reason)


class _ShortOfMemoryError(RuntimeError):
    """A stage ran out of memory beside others; its event is written. It is tried once more, alone."""


class StageRunner:
    """Stages of one trial (or of the preparation, with `trial` None) over one store and one event log.

    `room` is shared by all runners of a sweep; None where this one works by itself. `mark` is written with every event.
    """

    def __init__(
        self,
        store: StageStore,
        events: EventLog,
        *,
        trial: int | None = None,
        attempt: int = 1,
        mark: Mapping[str, Any] | None = None,
        room: Room | None = None,
    ) -> None:
        self.store = store
        self.events = events
        self.room = room or Room(events.path.parent)
        self.trial = trial
        self.attempt = attempt
        self.mark = dict(mark or {})
        self.seconds: dict[str, float] = {}
        self.keys: dict[str, str] = {}
        self.reused: list[str] = []
        self.judging: dict[str, Any] = {}
        self._abandoned = False

    def abandon(self) -> None:
        """Write no more events and begin no stage again: the process is stopping, and its stages end with it."""
        self._abandoned = True

    def run(self, request: StageRequest, compute: Callable[[Path], dict[str, Any]]) -> StageResult:
        """The stage's result, from the store where it is finished. Raises StageFailedError, with the event written.

        A stage that runs out of memory is tried once more when every other stage of the sweep has ended and none is
        begun: what it lacked may have been its neighbours'.
        """
        if self._abandoned:
            raise StageFailedError(request.stage, STOPPING)
        self.keys[request.stage] = request.key
        found = self.store.find(request)
        if found is not None:
            return self._reuse(request, found)
        with contextlib.suppress(_ShortOfMemoryError):
            return self._run(request, compute, alone=False)
        return self._run(request, compute, alone=True)  # not in a handler: the error holds on to what filled the memory

    def recall(self, request: StageRequest) -> StageResult | None:
        """What the store holds of a finished stage, counted as reused, whether or not its weights are still there."""
        found = self.store.recall(request)
        if found is None:
            return None
        self.keys[request.stage] = request.key
        return self._reuse(request, found)

    def _run(self, request: StageRequest, compute: Callable[[Path], dict[str, Any]], *, alone: bool) -> StageResult:
        with self.room.enter(alone=alone), durable.file_lock(self.store.lock(request.key)):
            found, damage = self.store.look(request)  # another process may have finished it while we waited
            if found is not None:
                return self._reuse(request, found)
            if damage is not None:
                self._event("note", request, reason=f"damaged, so the stage runs again: {damage}")
            return self._compute(request, compute, alone=alone)

    def _reuse(self, request: StageRequest, found: StageResult) -> StageResult:
        self.seconds.setdefault(request.stage, 0.0)
        if request.stage not in self.reused:
            self.reused.append(request.stage)
        self._note_judging(found)
        self._event("stage_reused", request, seconds=0.0)
        return found

    def _compute(self, request: StageRequest, compute: Callable[[Path], dict[str, Any]], *, alone: bool) -> StageResult:
        losses = 0
        while True:
            self._event("stage_started", request)
            began = time.perf_counter()
            try:
                result = self.store.compute(request, compute)
            except Exception as error:  # every failure of a stage becomes data; it is re-raised with its stage
                losses += isinstance(error, ProcessLostError)
                self._tell_failure(request, error, seconds=time.perf_counter() - began, losses=losses, alone=alone)
                continue
            self._tell_finish(request, result, seconds=time.perf_counter() - began)
            return result

    def _tell_failure(
        self, request: StageRequest, error: Exception, *, seconds: float, losses: int, alone: bool
    ) -> None:
        """Write down how a stage ended. Returns where it is to begin again at once, raises where it is not."""
        if self._abandoned:
            raise StageFailedError(request.stage, STOPPING) from error
        reason = reason_of(error)
        if says_out_of_memory(error):
            if not alone:
                self._event("stage_lost", request, seconds=seconds, reason=f"{reason}; next it is tried alone")
                raise _ShortOfMemoryError(reason) from error
            reason = f"{reason}; no other stage of the sweep ran beside it"
        elif isinstance(error, ProcessLostError) and losses <= LOSSES_OF_A_STAGE:
            self._event("stage_lost", request, seconds=seconds, reason=reason)
            return
        self._event("stage_failed", request, seconds=seconds, reason=reason)
        self.seconds[request.stage] = seconds
        raise StageFailedError(request.stage, reason) from error

    def _tell_finish(self, request: StageRequest, result: StageResult, *, seconds: float) -> None:
        self.seconds[request.stage] = seconds
        self.reused = [stage for stage in self.reused if stage != request.stage]  # recalled, then its weights wanted
        told = {name: result.data[name] for name in TOLD if name in result.data}
        data = {**self.mark, **told, **self._note_judging(result)}
        self._event("stage_finished", request, seconds=seconds, data=data)

    def _note_judging(self, result: StageResult) -> dict[str, Any]:
        """What a stage asked of judges, kept for the trial's record; empty where it asked nobody."""
        if not result.data.get("judging"):
            return {}
        self.judging[result.stage] = result.data["judging"]
        return {"judging": result.data["judging"]}

    def _event(self, event: str, request: StageRequest, **fields: Any) -> None:
        self.events.append(
            event,
            trial=self.trial,
            stage=request.stage,
            stage_key=request.key,
            attempt=self.attempt,
            **{"data": self.mark, **fields},
        )


def reason_of(error: BaseException) -> str:
    """Type and message of what went wrong, without the wrapping of the process it happened in, and without secrets."""
    cause = getattr(error, "cause", None)
    inner = cause if isinstance(cause, BaseException) else error
    return redact(f"{type(inner).__name__}: {inner}")[:REASON_CHARS]
