"""Find, create and fill runs in an MLflow store. Writing the same content twice changes nothing.

Only `MlflowClient` with explicit run ids is used, because the fluent API has a global active run. MLflow stores a
metric point with the same name, step, time and value only once; therefore all times come from the records, never from
the clock. mlflow is imported when a store is opened, because the import takes about three seconds.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote

from unlearn_sweep.engine.privacy.secrets import silence_telemetry
from unlearn_sweep.engine.tracking.fields import Fields, Point

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Item = TypeVar("Item")

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100
EXPERIMENT_CHARS = 500
_TABLES_TAG = "mlflow.loggedArtifacts"

# Defaults for variables that are not set. Without them, the client retries an unreachable server for minutes, although
# the records are safe on disk, and its log output and progress bars disturb the sweep's progress display.
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
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

    def fill(self, run_id: str, fields: Fields, time_ms: int) -> None:
        """Write params, metrics, tables and finally tags."""
        from mlflow.entities import Param

        for chunk in _chunks(sorted(fields.params.items()), PARAMS_PER_BATCH):
            self.client.log_batch(run_id, params=[Param(name, value) for name, value in chunk])
        self.points(run_id, fields.points, time_ms)
        if fields.long_params:
            self.client.log_dict(run_id, fields.long_params, "long_params.json")
        tags = dict(fields.tags)
        for file, table in fields.tables.items():
            self.client.log_dict(run_id, table, file)
        if fields.tables:
            # Because of this tag, MLflow shows the JSON artifacts as tables.
            shown = [{"path": file, "type": "table"} for file in sorted(fields.tables)]
            tags[_TABLES_TAG] = json.dumps(shown)
        self.tag(run_id, tags)

    def points(self, run_id: str, points: Sequence[Point], time_ms: int) -> None:
        from mlflow.entities import Metric

        for chunk in _chunks(points, METRICS_PER_BATCH):
            self.client.log_batch(run_id, metrics=[Metric(p.name, p.value, time_ms, p.step) for p in chunk])

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        for chunk in _chunks(sorted(tags.items()), TAGS_PER_BATCH):
            self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in chunk])

    def end(self, run_id: str, status: str, end_ms: int) -> None:
        """End a run with status FINISHED, FAILED or KILLED."""
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


def _known(run: Run) -> KnownRun:
    info, data = run.info, run.data
    return KnownRun(info.run_id, info.start_time or 0, info.status, data.tags, data.params, data.metrics)


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
