"""MLflow view of a sweep, built from its folder: one run for the sweep and one child run per settled trial.

The records on disk are the source of truth. `MlflowSink.catch_up` writes what MLflow does not have yet. A trial counts
as written if its run has the digest of the trial's record as a tag; this tag is set last. So `catch_up` can be killed
at any point and called again, during the sweep or years later, without writing anything twice. Run ids are saved in
`<sweep>/mlflow.json` for users, but runs are found by their tags: that file may be lost or refer to another server.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.engine.privacy.error_text import named_line
from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.records import Front, TrialRecord
from unlearn_sweep.engine.store.snapshot import Snapshot, StoredTrial, read_snapshot
from unlearn_sweep.engine.sync_thread import SyncThread
from unlearn_sweep.engine.tracking.fields import Fields, is_on_front, trial_fields
from unlearn_sweep.engine.tracking.front_models import FrontModel, front_models, register_front
from unlearn_sweep.engine.tracking.runs import (
    KnownRun,
    RunStore,
    absolute_uri,
    default_tracking_uri,
    milliseconds,
    store_errors,
)
from unlearn_sweep.engine.tracking.runs_page import runs_page, share_view
from unlearn_sweep.engine.tracking.stage_fields import Ends, stage_ends
from unlearn_sweep.engine.tracking.stage_runs import StageRuns, TrialId
from unlearn_sweep.engine.tracking.sweep_params import datasets_of, user
from unlearn_sweep.engine.tracking.sweep_run import LAYOUT, write_sweep
from unlearn_sweep.user_error import UserError

IDS_FILE = "mlflow.json"
CLOSE_S = 120.0
_SOURCE = {"mlflow.source.name": "unlearn-sweep"}


def tracking_target(setting: str, storage: Path) -> str | None:
    """Resolve `tracking.mlflow` of a sweep file to a URI: None for "off", the storage's own database for "auto"."""
    if setting == "off":
        return None
    return default_tracking_uri(storage) if setting == "auto" else absolute_uri(setting)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """Result of `sync`. `unreadable` maps each file that was left out to the reason; `runs_page` is an address."""

    tracking_uri: str
    experiment: str
    runs_page: str | None
    trials_written: int
    unreadable: Mapping[str, str]


class SyncError(UserError, ValueError):
    """MLflow could not be updated. What was written before the failure is kept and not written again."""

    advice = "Start the tracking server, or name another with --tracking, and rerun the same command."


def sync(directory: Path, tracking_uri: str | None = None, experiment: str | None = None) -> SyncResult:
    """Write to MLflow what it is missing of a sweep's folder, even if the sweep ran elsewhere.

    URI and experiment default to those of the sweep.

    Raises:
        NotASweepError: `directory` is not a sweep.
        SyncError: The store cannot be reached or rejects a request.
    """
    snapshot = read_snapshot(directory)
    uri = tracking_uri or _address_in(snapshot) or default_tracking_uri(directory.resolve().parent)
    sink = MlflowSink(directory, uri, experiment or snapshot.name)
    try:
        written = sink.catch_up()
    except store_errors() as error:
        raise SyncError(f"MLflow at {redact(sink.tracking_uri)}: {named_line(error)}") from error
    return SyncResult(
        tracking_uri=redact(sink.tracking_uri),
        experiment=sink.experiment,
        runs_page=noted_page(directory),
        trials_written=written,
        unreadable=sink.unreadable,
    )


def _address_in(snapshot: Snapshot) -> str | None:
    """Return the URI in the sweep file; None for "auto" and "off". An explicit sync ignores "off"."""
    tracking = snapshot.spec.get("tracking")
    setting = tracking.get("mlflow") if isinstance(tracking, Mapping) else snapshot.spec.get("mlflow")
    return setting if isinstance(setting, str) and setting not in ("auto", "off") else None


class MlflowSink:
    """Write one sweep folder to MLflow. mlflow is imported and the store opened in the first `catch_up`."""

    def __init__(self, sweep_dir: Path, tracking_uri: str, experiment: str) -> None:
        self.sweep_dir = sweep_dir.resolve()
        self.tracking_uri = absolute_uri(tracking_uri)
        self.experiment = experiment
        self.unreadable: Mapping[str, str] = {}
        self._store: RunStore | None = None
        self._listed = False
        self._parent_id = ""
        self._stages: StageRuns | None = None
        self._children: dict[TrialId, KnownRun] = {}
        self._digests: dict[TrialId, str] = {}
        self._front_tags: dict[TrialId, str] = {}

    def catch_up(self) -> int:
        """Write everything that MLflow does not have yet. Return the number of trial runs written; 0 if up to date.

        Only one process at a time does this; others wait. Afterwards, `unreadable` lists files that cannot be read.

        Raises:
            NotASweepError: The folder is not a sweep.
            mlflow.exceptions.MlflowException, OSError: The store cannot be reached or rejects a request.
        """
        with durable.file_lock(self.sweep_dir / "mlflow.lock", holder=f"{socket.gethostname()} {os.getpid()}"):
            snapshot = read_snapshot(self.sweep_dir)
            self.unreadable = snapshot.unreadable
            store = self._store = self._store or RunStore.open(self.tracking_uri, self.experiment)
            sweep_id = self._sweep_id(snapshot)
            if not self._listed:
                self._list_runs(store, sweep_id)
            # After an error it is unknown what was written, so the next call lists the runs again.
            self._listed = False
            parent = self._find_parent(store, snapshot, sweep_id)
            ends = stage_ends(snapshot.events)
            written = sum([self._write_trial(store, snapshot, trial, sweep_id, ends) for trial in snapshot.trials])
            self._mark_front(store, snapshot)
            share_view(store, sweep_id)
            self._note_ids(store, sweep_id)
            self._write_sweep(store, snapshot, parent, sweep_id)
            self._listed = True
        return written

    # --- which sweep, which runs ----------------------------------------------------------------------------------

    def _sweep_id(self, snapshot: Snapshot) -> str:
        """Return an id that stays the same if the folder is moved.

        It is read from `mlflow.json` or computed from the time of the first event. If there is no event yet, it is
        computed from the folder's path.
        """
        noted = _noted_ids(self.sweep_dir).get("sweep_id")
        if isinstance(noted, str) and noted.isalnum():
            return noted
        origin = snapshot.first_event_s if snapshot.first_event_s is not None else str(self.sweep_dir)
        return hashlib.sha256(f"{snapshot.name}\n{origin}".encode()).hexdigest()[:16]

    def _list_runs(self, store: RunStore, sweep_id: str) -> None:
        """Read which trial runs of this sweep MLflow already has. Delete duplicate runs of a trial."""
        self._children, self._digests, self._front_tags = {}, {}, {}
        self._stages = StageRuns(store, sweep_id)
        for run in store.find(sweep_id=sweep_id, kind="trial"):
            trial_id = int(run.tags["trial_number"]), run.tags["trial_key"]
            if trial_id in self._children:
                store.drop(run.run_id)  # two machines created it at the same time; keep the older run
            else:
                self._adopt(trial_id, run)

    def _adopt(self, trial_id: TrialId, run: KnownRun) -> None:
        self._children[trial_id] = run.lean()
        self._digests[trial_id] = run.tags.get("record_digest", "")
        self._front_tags[trial_id] = run.tags.get("on_front", "")

    def _forget(self, store: RunStore, trial_id: TrialId) -> None:
        if self._stages is not None:
            self._stages.forget(trial_id)
        store.drop(self._children.pop(trial_id).run_id)

    def _find_parent(self, store: RunStore, snapshot: Snapshot, sweep_id: str) -> KnownRun:
        """Return the run of the sweep. Create it if it does not exist; delete duplicates."""
        found = store.find(sweep_id=sweep_id, kind="sweep")
        for extra in found[1:]:
            store.drop(extra.run_id)
        if found:
            parent = found[0]
        else:
            tags = {"sweep_id": sweep_id, "sweep": snapshot.name, "kind": "sweep", **_SOURCE, **user()}
            parent = store.create(snapshot.name, milliseconds(snapshot.first_event_s or 0.0), tags)
        self._parent_id = parent.run_id
        return parent

    def _note_ids(self, store: RunStore, sweep_id: str) -> None:
        """Save the run ids in the sweep's folder, for users and links."""
        ids = {
            "sweep_id": sweep_id,
            "tracking_uri": redact(self.tracking_uri),
            "experiment_id": store.experiment_id,
            "parent_run_id": self._parent_id,
            "runs_page": redact(runs_page(self.tracking_uri, store.experiment_id, sweep_id)),
            "runs": {str(number): run.run_id for (number, _), run in sorted(self._children.items())},
        }
        if ids != _noted_ids(self.sweep_dir):
            durable.write_json(self.sweep_dir / IDS_FILE, ids)

    # --- one trial ------------------------------------------------------------------------------------------------

    def _write_trial(self, store: RunStore, snapshot: Snapshot, trial: StoredTrial, sweep_id: str, ends: Ends) -> int:
        """Write a trial's run unless it already has this record. Return the number of runs written."""
        record, digest = trial.record, f"{LAYOUT}.{trial.digest}"
        trial_id = record.number, record.key
        if trial_id in self._children and self._digests[trial_id] == digest:
            return 0
        fields = trial_fields(record, sweep=snapshot.name, sweep_id=sweep_id, benchmark=snapshot.benchmark)
        run, ended = self._run_for(store, record, fields, sweep_id), milliseconds(record.finished)
        store.end(run.run_id, "FAILED" if record.state == "failed" else "FINISHED", ended)
        store.inputs(run.run_id, datasets_of(snapshot))
        if self._stages is not None:
            self._stages.write(record, run, ends, {**_SOURCE, **user()})
        marks = {} if snapshot.front is None else {"on_front": _front_mark(record, snapshot.front)}
        store.fill(run, fields, ended, {**marks, "record_digest": digest})
        self._digests[trial_id] = digest
        self._front_tags[trial_id] = marks.get("on_front", self._front_tags[trial_id])
        return 1

    def _run_for(self, store: RunStore, record: TrialRecord, fields: Fields, sweep_id: str) -> KnownRun:
        """Return the run of a trial. Create a new one if there is none or if the existing one cannot be updated."""
        trial_id = record.number, record.key
        for other in [known for known in self._children if known[0] == record.number and known != trial_id]:
            self._forget(store, other)
        identity = {
            "sweep_id": sweep_id,
            "trial_number": str(record.number),
            "trial_key": record.key,
            "kind": "trial",
        }
        if trial_id not in self._children:
            # Another process may have created it since the runs were listed.
            for found in store.find(**identity)[:1]:
                self._adopt(trial_id, found)
        if trial_id in self._children and _outdated(self._children[trial_id], fields):
            self._forget(store, trial_id)
        if trial_id not in self._children:
            tags = {**fields.tags, **identity, "mlflow.parentRunId": self._parent_id, **_SOURCE, **user()}
            run = store.create(f"{record.number:03d} {record.method}", milliseconds(record.started), tags)
            self._adopt(trial_id, run)
            return run
        return self._children[trial_id]

    def _mark_front(self, store: RunStore, snapshot: Snapshot) -> None:
        """Tag each trial's run with whether the trial is on the front now. Write only changes."""
        if snapshot.front is None:
            return
        for record in snapshot.records:
            trial_id = record.number, record.key
            mark = _front_mark(record, snapshot.front)
            if self._front_tags[trial_id] != mark:
                store.tag(self._children[trial_id].run_id, {"on_front": mark})
                self._front_tags[trial_id] = mark

    # --- the sweep ------------------------------------------------------------------------------------------------

    def _write_sweep(self, store: RunStore, snapshot: Snapshot, parent: KnownRun, sweep_id: str) -> None:
        """Write the sweep's run and, once the sweep is not running, register the models of its front."""
        models: list[FrontModel] = []
        if snapshot.state != "running":
            models = front_models(snapshot, {trial_id: run.run_id for trial_id, run in self._children.items()})
            register_front(store, snapshot, sweep_id, models)
        write_sweep(store, snapshot, parent, models)


def _front_mark(record: TrialRecord, front: Front) -> str:
    return "yes" if is_on_front(record, front) else "no"


def _noted_ids(sweep_dir: Path) -> Mapping[str, object]:
    """Read `mlflow.json`; empty if it is missing or not a JSON object."""
    path = sweep_dir / IDS_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def noted_page(sweep_dir: Path) -> str | None:
    """Return the address of MLflow's page of a sweep; None if the sweep is not in MLflow yet."""
    page = _noted_ids(sweep_dir).get("runs_page")
    return page if isinstance(page, str) else None


def _outdated(run: KnownRun, fields: Fields) -> bool:
    """Return whether the run has params, metrics or `no_value` tags that contradict the record.

    Such a run must be replaced, because MLflow can neither change a param nor remove a metric.
    """
    points = {point.name for point in fields.points}
    reasons = {tag for tag in run.tags if tag.startswith("no_value.")}
    return (
        any(fields.params.get(name) != value for name, value in run.params.items())
        or not set(run.metrics) <= points
        or not reasons <= set(fields.tags)
    )


class MlflowThread(SyncThread):
    """Update MLflow in a background thread of a running sweep. A failure of MLflow never stops the sweep."""

    def __init__(self, sink: MlflowSink, warn: Callable[[str], None]) -> None:
        super().__init__("mlflow", warn)
        self.sink = sink

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        return super().close(timeout_s)

    def update(self, *, last: bool) -> None:
        self.sink.catch_up()

    def expected(self) -> tuple[type[Exception], ...]:
        """Return the errors of a server, a disk, a database or a damaged file."""
        return store_errors()

    def failed(self, error: Exception) -> str:
        return named_line(error)

    def first_warning(self, why: str) -> str:
        return f"MLflow at {redact(self.sink.tracking_uri)}: {why}. The sweep continues without it. {self._advice()}"

    def last_warning(self, why: str) -> str:
        return f"MLflow does not have the whole sweep ({why}). {self._advice()}"

    def _advice(self) -> str:
        return f"Nothing is lost: run `unlearn-sweep sync {self.sink.sweep_dir}` to complete it."
