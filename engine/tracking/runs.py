"""Find, create and fill runs in an MLflow store. Writing the same content twice changes nothing.

Only `MlflowClient` with explicit run ids is used, because the fluent API has a global active run. MLflow stores a
metric point with the same name, step, time and value only once; therefore all times come from the records, never from
the clock. mlflow is imported when a store is opened, because the import takes about three seconds.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from unlearn_sweep.engine.privacy.secrets import silence_telemetry
from unlearn_sweep.engine.tracking.fields import Fields, Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

PER_BATCH, PER_KIND = 1000, 100
"""Limits of one request: items in all, and params or tags."""
EXPERIMENT_CHARS = 500
IDENTITY = frozenset({"sweep_id", "kind", "trial_number", "trial_key", "stage", "stage_key", "mlflow.parentRunId"})
"""Tags by which a run is found; they never change."""
_TABLES_TAG = "mlflow.loggedArtifacts"

# Defaults for variables that are not set. Without them, the client retries an unreachable server for minutes, although
# the records are safe on disk, and its log output and progress bars disturb the sweep's progress display.
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def default_tracking_uri(storage: Path) -> str:
    """Return the URI of `mlflow.db` in the storage. The path is absolute: Ray processes have another working folder."""
    return f"sqlite:///{quote(str(storage.resolve() / 'mlflow.db'))}"


def sqlite_file(tracking_uri: str) -> Path | None:
    """Return the file of an sqlite URI; None for any other URI. Relative paths start at the working folder."""
    if not tracking_uri.startswith("sqlite:"):
        return None
    path = tracking_uri.partition(":///")[2].partition("?")[0]
    return Path(unquote(path)).absolute()


def absolute_uri(tracking_uri: str) -> str:
    """Make the path of an sqlite URI absolute. Return other URIs unchanged."""
    path = sqlite_file(tracking_uri)
    return f"sqlite:///{quote(str(path))}" if path else tracking_uri


def store_errors() -> tuple[type[Exception], ...]:
    """Return the expected exception types: unreachable server, full disk, locked database, damaged file.

    Any other exception is a bug.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError, ValueError, ImportError


@dataclass(frozen=True, slots=True)
class KnownRun:
    """The part of a stored run that decides what is left to write."""

    run_id: str
    start_ms: int
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    def lean(self) -> KnownRun:
        """Return the run without the tags that a later write may change, to be kept while the sweep runs."""
        kept = {name: value for name, value in self.tags.items() if name in IDENTITY or name.startswith("no_value.")}
        return replace(self, tags=kept)


class RunStore:
    """One experiment in one MLflow store."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id

    @classmethod
    def open(cls, tracking_uri: str, experiment: str) -> RunStore:
        """Connect. Create the database and the experiment if they are missing; restore a deleted experiment."""
        silence_telemetry()
        for name, value in _CLIENT_SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        # An earlier import of mlflow has set its log level already; its lines would break into the live view.
        logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
        database = sqlite_file(tracking_uri)
        if database:
            database.parent.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=absolute_uri(tracking_uri))
        name = experiment[:EXPERIMENT_CHARS]
        found = client.get_experiment_by_name(name)
        if found is None:
            artifacts = (database.parent / "mlartifacts").as_uri() if database else None
            return cls(client, client.create_experiment(name, artifact_location=artifacts))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return cls(client, found.experiment_id)

    def find(self, **tags: str) -> list[KnownRun]:
        """Return the runs with these tags, oldest first. Deleted runs are left out."""
        condition = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
        runs: list[KnownRun] = []
        token: str | None = None
        while True:
            page = self.client.search_runs([self.experiment_id], condition, max_results=1000, page_token=token)
            runs += [_known(run) for run in page]
            token = page.token
            if not token:
                return sorted(runs, key=lambda run: (run.start_ms, run.run_id))

    def create(self, name: str, start_ms: int, tags: Mapping[str, str]) -> KnownRun:
        """Create a run together with its tags in one call, so that the run can be found even after a crash."""
        return _known(self.client.create_run(self.experiment_id, start_ms, dict(tags), name))

    def fill(self, run: KnownRun, fields: Fields, time_ms: int, last: Mapping[str, str] | None = None) -> None:
        """Write tables, params, metrics, the tags that differ from the run's, and the tags `last`, in this order.

        What fits in one request is written by one.
        """
        if fields.long_params:
            self.client.log_dict(run.run_id, fields.long_params, "long_params.json")
        tags = dict(fields.tags)
        for file, table in fields.tables.items():
            self.client.log_dict(run.run_id, table, file)
        if fields.tables:
            # Because of this tag, MLflow shows the JSON artifacts as tables.
            shown = [{"path": file, "type": "table"} for file in sorted(fields.tables)]
            tags[_TABLES_TAG] = json.dumps(shown)
        other = {name: value for name, value in tags.items() if run.tags.get(name) != value}
        ordered = [*sorted(other.items()), *(last or {}).items()]
        self._log(run.run_id, sorted(fields.params.items()), fields.points, ordered, time_ms)

    def points(self, run_id: str, points: Sequence[Point], time_ms: int) -> None:
        self._log(run_id, [], points, [], time_ms)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._log(run_id, [], [], sorted(tags.items()), 0)

    def _log(
        self,
        run_id: str,
        params: Sequence[tuple[str, str]],
        points: Sequence[Point],
        tags: Sequence[tuple[str, str]],
        time_ms: int,
    ) -> None:
        """Write params, metrics and tags, in this order, in as few requests as the limits of MLflow allow."""
        from mlflow.entities import Metric, Param, RunTag

        while params or points or tags:
            metrics_now = points[: PER_BATCH - min(len(params), PER_KIND)]
            params_now = params[:PER_KIND]
            left = len(points) > len(metrics_now) or len(params) > PER_KIND
            tags_now = [] if left else tags[: min(PER_KIND, PER_BATCH - len(metrics_now) - len(params_now))]
            self.client.log_batch(
                run_id,
                metrics=[Metric(point.name, point.value, time_ms, point.step) for point in metrics_now],
                params=[Param(name, value) for name, value in params_now],
                tags=[RunTag(name, value) for name, value in tags_now],
            )
            params, points, tags = params[PER_KIND:], points[len(metrics_now) :], tags[len(tags_now) :]

    def inputs(self, run_id: str, datasets: Sequence[DatasetInput]) -> None:
        """Note the data that a run was made from. MLflow keeps the same data only once."""
        if datasets:
            self.client.log_inputs(run_id, datasets)

    def end(self, run_id: str, status: str, end_ms: int) -> None:
        """End a run with status FINISHED, FAILED or KILLED.

        MLflow's database reads all that a run holds to change its status, so this costs least for an empty run. An
        ended run can still be filled.
        """
        self.client.set_terminated(run_id, status, end_ms)

    def set_status(self, run: KnownRun, status: str, end_ms: int) -> None:
        """Set a run's status. RUNNING reopens an ended run, for a resumed sweep; any other status ends it."""
        if status != "RUNNING":
            self.end(run.run_id, status, end_ms)
        elif run.status != "RUNNING":
            self.client.update_run(run.run_id, status)

    def history(self, run_id: str, name: str) -> dict[int, float]:
        """Map each step of a metric to its latest value."""
        points = sorted(self.client.get_metric_history(run_id, name), key=lambda metric: metric.timestamp)
        return {metric.step: metric.value for metric in points}

    def drop(self, run_id: str) -> None:
        """Mark a run as deleted. MLflow keeps its data until `mlflow gc`."""
        self.client.delete_run(run_id)


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _known(run: Run) -> KnownRun:
    info, data = run.info, run.data
    return KnownRun(info.run_id, info.start_time or 0, info.status, data.tags, data.params, data.metrics)
