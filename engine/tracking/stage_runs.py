"""Write the runs of a trial's stages, children of the trial's run."""

from __future__ import annotations

from collections.abc import Mapping

from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.tracking.runs import KnownRun, RunStore, milliseconds
from unlearn_sweep.engine.tracking.stage_fields import Ends, StageRun, stage_runs

TrialId = tuple[int, str]
"""Number and key. The number alone is ambiguous if the study was restarted from scratch."""


class StageRuns:
    """The runs of all stages of one sweep in one store."""

    def __init__(self, store: RunStore, sweep_id: str) -> None:
        """Read which runs there are. Delete second runs of a stage, which two machines may create at the same time."""
        self._store = store
        self._sweep_id = sweep_id
        self._known: dict[tuple[TrialId, str], KnownRun] = {}
        for run in store.find(sweep_id=sweep_id, kind="stage"):
            place = (int(run.tags["trial_number"]), run.tags["trial_key"]), run.tags["stage"]
            if place in self._known:
                store.drop(run.run_id)
            else:
                self._known[place] = run.lean()

    def write(self, record: TrialRecord, parent: KnownRun, ends: Ends, tags: Mapping[str, str]) -> None:
        """Write the stages of a trial below its run. A stage that ran again, or lost a number, gets a new run."""
        trial = record.number, record.key
        for stage in stage_runs(record, ends):
            known = self._known.get((trial, stage.stage))
            if known is not None and _outdated(known, parent, stage):
                self._store.drop(known.run_id)
                known = None
            if known is None:
                known = self._create(record, parent, stage, tags)
            self._known[trial, stage.stage] = known.lean()
            self._store.end(known.run_id, stage.status, milliseconds(stage.finished))
            self._store.fill(known, stage.fields, milliseconds(stage.finished))

    def forget(self, trial: TrialId) -> None:
        """Delete the runs of a trial's stages."""
        for place in [place for place in self._known if place[0] == trial]:
            self._store.drop(self._known.pop(place).run_id)

    def _create(self, record: TrialRecord, parent: KnownRun, stage: StageRun, tags: Mapping[str, str]) -> KnownRun:
        identity = {
            "sweep_id": self._sweep_id,
            "kind": "stage",
            "trial_number": str(record.number),
            "trial_key": record.key,
            "mlflow.parentRunId": parent.run_id,
        }
        return self._store.create(stage.name, milliseconds(stage.started), {**stage.fields.tags, **identity, **tags})


def _outdated(known: KnownRun, parent: KnownRun, stage: StageRun) -> bool:
    """Return whether the run is of another result or trial, or has a metric that the record no longer has."""
    same = {"stage_key": stage.fields.tags["stage_key"], "mlflow.parentRunId": parent.run_id}
    points = {point.name for point in stage.fields.points}
    return any(known.tags.get(name) != value for name, value in same.items()) or not set(known.metrics) <= points
