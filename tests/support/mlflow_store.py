"""Looking into a real MLflow store from a test."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from unlearn_sweep.engine.tracking.runs import default_tracking_uri
from unlearn_sweep.engine.tracking.sink import MlflowSink


def sink_of(folder: Path) -> MlflowSink:
    return MlflowSink(folder, default_tracking_uri(folder.parent), folder.name)


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=default_tracking_uri(folder.parent))


def runs_of(folder: Path, kind: str = "trial") -> list[Run]:
    client = client_of(folder)
    experiment = client.get_experiment_by_name(folder.name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'")
    return sorted(found, key=lambda run: int(run.data.tags.get("trial_number", 0)))


def contents(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the database that belongs to runs."""
    with sqlite3.connect(folder.parent / "mlflow.db") as database:
        tables = ("experiments", "runs", "params", "metrics", "latest_metrics", "tags")
        return {table: sorted(database.execute(f"select * from {table}"), key=repr) for table in tables}


def artifact(folder: Path, run: Run, name: str) -> Any:
    path = Path(client_of(folder).download_artifacts(run.info.run_id, name))
    return json.loads(path.read_text()) if path.suffix == ".json" else path.read_text()


@contextmanager
def tracking_server(root: Path) -> Iterator[str]:
    """The address of a real server on the loopback interface, over the database in `root`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--backend-store-uri", default_tracking_uri(root), "--artifacts-destination", str(root / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (root / "server.log").open("w") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            _await_answer(address, process, root / "server.log")
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _await_answer(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])
