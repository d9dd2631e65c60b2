"""`sync`, the background thread and a real tracking server. Oracle: the records, and what the store then holds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.answered_sweep import write_answered_sweep
from tests.support.mlflow_store import runs_of, sink_of, tracking_server
from tests.support.sweep_folder import trial, write_sweep, write_trial
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.snapshot import NotASweepError
from unlearn_sweep.engine.tracking.runs import default_tracking_uri, sqlite_file
from unlearn_sweep.engine.tracking.sink import MlflowSink, MlflowThread, SyncError, sync, tracking_target


def test_sync_takes_address_and_name_from_the_sweep(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0)])
    result = sync(folder)
    assert (result.trials_written, result.experiment) == (1, "demo")
    assert sync(folder).trials_written == 0
    with pytest.raises(NotASweepError, match="is no sweep"):
        sync(storage)


def test_tracking_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_target("off", tmp_path) is None
    assert tracking_target("auto", Path("runs")) == f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"
    assert tracking_target("sqlite:///own.db", tmp_path) == f"sqlite:///{tmp_path / 'own.db'}"
    assert tracking_target("http://127.0.0.1:5000", tmp_path) == "http://127.0.0.1:5000"
    odd = tmp_path / "50% of? it"
    assert sqlite_file(default_tracking_uri(odd)) == odd / "mlflow.db"


def test_the_thread_catches_up_when_poked_and_at_the_end(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0)], state=None)
    said: list[str] = []
    thread = MlflowThread(sink_of(folder), said.append)
    thread.start()
    thread.poke()
    write_trial(folder, trial(1))
    EventLog(folder / "events.jsonl").append("sweep_finished")
    assert thread.close() is True
    assert len(runs_of(folder)) == 2
    assert runs_of(folder, "sweep")[0].info.status == "FINISHED"
    assert said == []


def test_an_unreachable_server_is_a_warning_once_and_an_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = write_sweep(tmp_path / "runs" / "demo", [trial(0)])
    said: list[str] = []
    # Port 9 of this machine: nothing listens there, so the connection is refused at once.
    thread = MlflowThread(MlflowSink(folder, "http://user:hidden@127.0.0.1:9", "demo"), said.append)
    thread.start()
    for _ in range(3):
        thread.poke()
    assert thread.close() is False
    assert len(said) == 2
    assert "sweep continues" in said[0]
    assert f"unlearn-sweep sync {folder}" in said[1]
    assert "hidden" not in "".join(said)


def test_sync_with_an_unreachable_server_is_one_plain_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = write_sweep(tmp_path / "runs" / "demo", [trial(0)])
    with pytest.raises(SyncError, match=r"^MLflow at http://\[login\]@127.0.0.1:9: MlflowException: .*") as error:
        sync(folder, "http://user:hidden@127.0.0.1:9")
    assert "hidden" not in str(error.value)


def test_close_does_not_wait_for_ever(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    sink = sink_of(write_sweep(storage / "demo", [trial(0)]))
    monkeypatch.setattr(sink, "catch_up", release.wait)
    said: list[str] = []
    thread = MlflowThread(sink, said.append)
    thread.start()
    assert thread.close(timeout_s=0.1) is False
    assert "did not finish" in said[0]
    release.set()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real tracking server on the loopback interface."""
    with tracking_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_tracking_server_gets_the_same_runs(server: str, tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "runs" / "demo", [trial(n) for n in range(2)])
    assert sync(folder, server).trials_written == 2
    assert sync(folder, server).trials_written == 0
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name("demo")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], "tags.on_front = 'yes'")
    assert [run.data.tags["trial_number"] for run in found] == ["0"]
    assert found[0].data.metrics["ue"] == trial(0).ue
    assert [file.path for file in client.list_artifacts(found[0].info.run_id)] == ["attack_curves.json"]


def test_the_run_of_a_finished_sweep_has_the_answers_as_a_table(storage: Path) -> None:
    folder = write_answered_sweep(storage / "demo")
    sync(folder)
    parent = runs_of(folder, "sweep")[0]
    place = MlflowClient(default_tracking_uri(storage)).download_artifacts(parent.info.run_id, "answers.json")
    table = json.loads(Path(place).read_text())
    lines = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    assert {line["model"] for line in lines} >= {"original", "gold"}
    said = {line["answer"] == f"It is {line['reference']}." for line in lines if line["model"] == "original"}
    assert said == {True}
    assert "answers.json" in parent.data.tags["mlflow.loggedArtifacts"]
