"""Optuna's own views of a sweep's journal. Oracle: Optuna's API and the real dashboard over HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import LogUniform, MethodSpace
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.broker import StudyBroker

SPACES = [MethodSpace(method="npo", params={"beta": LogUniform(low=0.05, high=1.0)})]
PLAN = SearchPlan(sampler="random", trials=3, seed=1)


def broker(journal: Path, title: str = "my-sweep", known: list[TrialRecord] | None = None) -> StudyBroker:
    return StudyBroker(journal, SPACES, PLAN, identity={"a": "1"}, title=title, known=known or [])


def settled(journal: Path) -> list[TrialRecord]:
    """A study of three trials."""
    study, records = broker(journal), []
    while (proposal := study.ask()) is not None:
        values = {"state": "complete", "ue": 0.5, "ut": 0.25, "rob": 0.125, "started": 0.0, "finished": 1.0}
        asked = {"number": proposal.number, "key": proposal.key, "method": proposal.method, "seed": proposal.seed}
        records.append(TrialRecord(**asked, params=proposal.params, **values))
        study.settle(records[-1])
    study.flush()
    return records


def studies(journal: Path) -> list[optuna.Study]:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]


def test_study_and_objectives_have_names(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    settled(journal)
    (study,) = studies(journal)
    assert study.study_name.startswith("my-sweep-")
    assert study.metric_names == ["UE", "UT", "Rob"]
    assert study.trials[0].values == [0.5, 0.25, 0.125]


def test_a_study_of_an_older_version_is_gone_on_with(tmp_path: Path) -> None:
    """It is called sweep-..., and its objectives have no names."""
    journal = tmp_path / "study.journal"
    records = settled(journal)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    old = [line for line in lines if "metric_names" not in json.dumps(line)]
    assert len(old) < len(lines)
    journal.write_text("".join(json.dumps(line).replace("my-sweep-", "sweep-") + "\n" for line in old))
    assert broker(journal, known=records).finished_asking
    (study,) = studies(journal)
    assert study.study_name.startswith("sweep-")
    assert len(study.trials) == 3
    assert study.metric_names == ["UE", "UT", "Rob"]


@pytest.mark.skipif(find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed")
def test_the_dashboard_shows_the_journal_as_it_is(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    settled(journal)
    before = journal.read_bytes()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), str(journal), "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            (shown,) = answer(f"http://127.0.0.1:{port}/api/studies", process, tmp_path / "log")["study_summaries"]
            detail = answer(f"http://127.0.0.1:{port}/api/studies/{shown['study_id']}", process, tmp_path / "log")
        finally:
            process.terminate()
            process.wait(30)
    assert shown["study_name"].startswith("my-sweep-")
    assert detail["objective_names"] == ["UE", "UT", "Rob"]
    assert [trial["values"] for trial in detail["trials"]] == [[0.5, 0.25, 0.125]] * 3
    assert journal.read_bytes() == before


def answer(url: str, process: subprocess.Popen[bytes], log: Path) -> Any:
    """The JSON of an address, as soon as the server listens."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.load(reply)
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])
