"""What a monitoring system shows of a sweep: counts and seconds, folded from the event log one event at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.engine.study.budget import TRAINING_STAGES

STAGE_RESULTS = {
    "stage_finished": "finished",
    "stage_reused": "reused",
    "stage_failed": "failed",
    "stage_stopped": "stopped",
    "stage_lost": "lost",
}
PREPARED = frozenset({"prepare:original", "prepare:gold"})
RUN_BEGINS = frozenset({"sweep_started", "sweep_resumed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEnd:
    """One stage that ended. `result` is "finished", "reused" (from the store), "stopped", "failed" or "lost"."""

    stage: str
    result: str
    seconds: float


@dataclass(slots=True)
class Tally:
    """Trials by state, and hours of devices. Seconds of reused stages are 0.

    Attributes:
        running: Numbers of the trials that were asked for and are not settled. Empty when a driver starts again.
        settled: State of each settled trial.
        gates: Trials that ended early, by reason: "collapsed", "stopped" (their training) or "infeasible" (a constraint
            was missed).
        skipped_attacks: Attacks that were not run, since their trial could no longer reach the front.
        device_seconds: Seconds of all stages times the devices that they held, by "GPU" and "CPU".
    """

    running: set[int] = field(default_factory=set)
    settled: dict[int, str] = field(default_factory=dict)
    gates: Counter[str] = field(default_factory=Counter)
    skipped_attacks: int = 0
    device_seconds: dict[str, float] = field(default_factory=dict)

    def apply(self, event: Event, held: Mapping[str, Mapping[str, float]]) -> StageEnd | None:
        """Add one event. Return the stage that ended with it, or None. `held` is from `devices_held`."""
        number = event.trial
        if event.event in RUN_BEGINS:
            self.running.clear()
        elif event.event == "trial_started" and number is not None:
            self.running.add(number)
        elif event.event == "trial_settled" and number is not None:
            self._settle(number, event)
        elif event.event == "attack_skipped":
            self.skipped_attacks += 1
        result = STAGE_RESULTS.get(event.event)
        if result is None or event.stage is None:
            return None
        seconds = event.seconds or 0.0
        devices = held["training" if event.stage in PREPARED or event.stage in TRAINING_STAGES else "measuring"]
        for kind, amount in devices.items():
            self.device_seconds[kind] = self.device_seconds.get(kind, 0.0) + seconds * amount
        return StageEnd(stage=event.stage, result=result, seconds=seconds)

    def _settle(self, number: int, event: Event) -> None:
        state = str(event.data.get("state"))
        self.running.discard(number)
        self.settled[number] = state
        if state in ("collapsed", "stopped"):
            self.gates[state] += 1
        elif event.data.get("infeasible"):
            self.gates["infeasible"] += 1

    def states(self, wanted: int) -> dict[str, int]:
        """Return how many trials are in each state; "waiting" are those of `wanted` that did not start."""
        found = Counter(self.settled.values())
        waiting = max(0, wanted - len(self.settled) - len(self.running))
        known = dict.fromkeys(("complete", "collapsed", "stopped", "failed", "duplicate"), 0)
        return known | dict(found) | {"running": len(self.running), "waiting": waiting}


def devices_held(job: SweepJob) -> dict[str, dict[str, float]]:
    """Return the GPUs and CPUs that a stage holds, by "training" and "measuring". The job's resources are settled.

    Without training workers, the workbench trains.
    """
    workers = job.training.worker_group
    measuring = {kind: job.measuring.get(kind, 0.0) for kind in ("GPU", "CPU")}
    training = {kind: workers.count * workers.resources.get(kind, 0.0) for kind in ("GPU", "CPU")}
    return {"training": training if workers.count else measuring, "measuring": measuring}
