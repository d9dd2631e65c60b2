"""A tracking server that is killed in the middle of a sweep. Oracle: the records, and what the server then holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.faults.clusters import free_port
from tests.faults.processes import wait_until
from tests.support.sweep_folder import trial, write_sweep, write_trial
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.tracking.runs import default_tracking_uri
from unlearn_sweep.engine.tracking.sink import MlflowSink, MlflowThread, sync

START_S = 240.0


class Server:
    """A real tracking server on the loopback interface, with its database in a folder; it can be killed and revived."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        serve = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        store = ["--backend-store-uri", default_tracking_uri(self.folder)]
        artifacts = ["--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [*serve, *store, *artifacts], stdout=log, stderr=log, start_new_session=True
            )
        assert wait_until(self._answers, START_S, 0.5), (self.folder / "server.log").read_text()[-2000:]

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.address}/health", timeout=5).close()
        except OSError:
            return False
        return True


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_server_killed_in_a_sweep_gets_the_rest_by_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "server").mkdir()
    server, said = Server(tmp_path / "server"), []
    try:
        folder = write_sweep(tmp_path / "runs" / "demo", [trial(0)], state=None)
        thread = MlflowThread(MlflowSink(folder, server.address, "demo"), said.append)
        thread.start()
        thread.poke()
        assert wait_until(lambda: (folder / "mlflow.json").exists(), START_S, 0.2)
        server.kill()
        for number in (1, 2):
            write_trial(folder, trial(number))
            thread.poke()
        EventLog(folder / "events.jsonl").append("sweep_finished")
        before = (folder / "events.jsonl").read_bytes()
        assert thread.close() is False
        assert "The sweep continues without it" in said[0]
        assert f"unlearn-sweep sync {folder}" in said[-1]
        assert (folder / "events.jsonl").read_bytes() == before
        server.start()
        assert sync(folder, server.address).trials_written == 2
        assert sync(folder, server.address).trials_written == 0
        client = MlflowClient(tracking_uri=server.address)
        experiment = client.get_experiment_by_name("demo")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
        assert sorted(run.data.tags["trial_number"] for run in runs) == ["0", "1", "2"]
        assert {run.data.metrics["ue"] for run in runs} == {trial(number).ue for number in range(3)}
        assert [run.info.status for run in client.search_runs([experiment.experiment_id], "tags.kind = 'sweep'")] == [
            "FINISHED"
        ]
    finally:
        server.kill()
