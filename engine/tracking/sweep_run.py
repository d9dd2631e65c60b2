"""Write the run of a sweep: its settings, provenance, data, front, controls, hypervolume, answers and report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.store.snapshot import Snapshot
from unlearn_sweep.engine.tracking.answer_table import add_answers
from unlearn_sweep.engine.tracking.fields import Fields, Point, hypervolume_curve, sweep_fields
from unlearn_sweep.engine.tracking.front_models import FrontModel
from unlearn_sweep.engine.tracking.runs import KnownRun, RunStore, milliseconds
from unlearn_sweep.engine.tracking.sweep_params import add_provenance, add_settings, datasets_of

REPORT_FILES = ("index.html", "front.html", "front.png", "front.svg")
LAYOUT = "4"
"""Increase this when params, metrics or tags of a run change, so that existing runs are rewritten."""
_SWEEP_STATUS = {"finished": "FINISHED", "stopped": "KILLED"}
_NOTE = (
    "One sweep; its trials are the child runs. `tags.on_front = 'yes'` keeps the Pareto front, `metrics.rob` sorts by "
    "robustness, `strength/` holds forgetting against the strength of each attack. The artifacts hold the front and a "
    "sample of the models' answers as tables and, once `unlearn-sweep report` has run, as a figure."
)


def write_sweep(store: RunStore, snapshot: Snapshot, parent: KnownRun, models: Sequence[FrontModel]) -> bool:
    """Write everything of the sweep's run if any of it changed. Return whether it did.

    `models` are the members of the front whose weights are in the store.
    """
    fields = sweep_fields(snapshot.front, snapshot.controls, snapshot.records)
    for name, value in (("benchmark", snapshot.benchmark), ("mlflow.note.content", _NOTE)):
        fields.tag(name, value)
    fields.tag("sweep_state", snapshot.state)
    add_settings(fields, snapshot)
    add_provenance(fields, snapshot)
    _keep_first_params(fields, parent)
    report = {path.name: path for name in REPORT_FILES if (path := snapshot.folder / "report" / name).is_file()}
    digest = _sweep_digest(snapshot, fields, report, models)
    if parent.tags.get("sweep_digest") == digest:
        return False
    now_ms = milliseconds(max([snapshot.last_event_s or 0.0, *(record.finished for record in snapshot.records)]))
    _add_hypervolume(store, snapshot, parent, now_ms)
    add_answers(fields, snapshot)
    store.fill(parent, fields, now_ms)
    store.inputs(parent.run_id, datasets_of(snapshot))
    _add_files(store, snapshot, parent, report)
    store.set_status(parent, _SWEEP_STATUS.get(snapshot.state, "RUNNING"), now_ms)
    store.tag(parent.run_id, {"sweep_digest": digest})
    return True


def _keep_first_params(fields: Fields, parent: KnownRun) -> None:
    """Turn each setting that changed since it was logged into a tag `now.<name>`: MLflow cannot change a param.

    A sweep may be extended by more trials or another budget.
    """
    for name, value in list(fields.params.items()):
        if parent.params.get(name, value) != value:
            fields.tag(f"now.{name}", fields.params.pop(name))


def _add_files(store: RunStore, snapshot: Snapshot, parent: KnownRun, report: Mapping[str, Path]) -> None:
    for path in (snapshot.folder / "spec.yaml", snapshot.folder / "spec.lock.yaml"):
        if path.is_file():
            store.client.log_text(parent.run_id, redact(path.read_text()), path.name)
    if snapshot.controls is not None:
        store.client.log_text(parent.run_id, redact(snapshot.controls.model_dump_json(indent=1)), "controls.json")
    for path in report.values():
        store.client.log_artifact(parent.run_id, str(path), "report")


def _add_hypervolume(store: RunStore, snapshot: Snapshot, parent: KnownRun, now_ms: int) -> None:
    """Write only the points of the hypervolume curve that MLflow does not have yet."""
    if snapshot.front is None:
        return
    there = store.history(parent.run_id, "hypervolume")
    curve = hypervolume_curve(snapshot.front)
    new = [Point("hypervolume", value, step) for step, value in curve.items() if there.get(step) != value]
    store.points(parent.run_id, new, now_ms)


def _sweep_digest(snapshot: Snapshot, fields: Fields, report: Mapping[str, Path], models: Sequence[FrontModel]) -> str:
    parts: list[object] = [LAYOUT, snapshot.state, snapshot.spec_text, sorted(fields.tags.items()), fields.tables]
    parts.append([(point.name, point.value) for point in fields.points])
    parts.append(snapshot.front.model_dump_json() if snapshot.front else None)
    parts.append(snapshot.controls.model_dump_json() if snapshot.controls else None)
    parts.append(sorted(fields.params.items()))
    parts.append([model.mark for model in models])
    parts += [(name, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in sorted(report.items())]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
