"""A secret that an error carries is found nowhere: not in events, records, MLflow, the report, nor on the screen.

Oracle: the bytes of every file that a sweep leaves. Real engine and views; only the models are recorded numbers.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from rich.console import Console

from tests.faults.recorded_sweep import ATTACKS, SPACE, TRIALS
from tests.support.recorded_attacks import RecordedExecutor, prepare, recorded_job
from unlearn_sweep.engine.driver.sweep import Driver
from unlearn_sweep.engine.privacy.secrets import secret_values
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.stages.attack_order import base_costs
from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.store.outcomes import AttackOutcome
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.tracking.sink import sync
from unlearn_sweep.sweeps.report import status
from unlearn_sweep.sweeps.report.build import build_report

SECRET = "plan-ted-0f7c9b1e5a"
VARIABLE = "PLANTED_API_KEY"


class Telltale(RecordedExecutor):
    """An attack whose service refuses the key, and says it."""

    def attack(self, request: AttackRequest) -> AttackOutcome:
        raise RuntimeError(f"401 Unauthorized: no such key {os.environ[VARIABLE]}")


@pytest.fixture
def failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a sweep all of whose trials failed in that attack."""
    monkeypatch.setenv(VARIABLE, SECRET)
    job = recorded_job(tmp_path, "sweep", ATTACKS, prune=True)
    job = job.model_copy(update={"search": job.search.model_copy(update={"trials": len(TRIALS)})})
    driver = Driver(job)
    driver.open()
    prepared = prepare(job)
    driver.attack_costs = base_costs(ATTACKS, prepared, driver.store, timed=False)
    plan = SearchPlan(sampler="tpe", allocation="equal", trials=len(TRIALS), seed=1, window=1)
    driver.broker = StudyBroker(job.directory / "study.journal", [SPACE], plan, identity={})
    while (task := driver.next_task()) is not None:
        driver.settle(task, run_trial(task, job, prepared, Telltale(TRIALS)))
    driver.finish()
    return job.directory


def test_the_planted_secret_is_nowhere(failed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sync(failed)
    build_report(failed)
    Console().print(status.render(status.status(failed)))
    storage = failed.parent
    files = [path for path in storage.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"events.jsonl", "0.json", "mlflow.db", "index.html", "study.journal", "spec.lock.yaml"} <= names
    assert [str(path) for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in capsys.readouterr().out
    # The reason is there, with the name of the variable in place of its value.
    told = f"no such key [{VARIABLE}]"
    for name in ("events.jsonl", "trials/0.json", "report/index.html"):
        assert told in (failed / name).read_text(), name
    with sqlite3.connect(storage / "mlflow.db") as database:
        assert any(told in text for (text,) in database.execute("select value from tags"))


class Vanishing(Mapping[str, str]):
    """An environment from which another thread removes a variable after its name was listed."""

    def __getitem__(self, name: str) -> str:
        return {"API_TOKEN": "a-long-secret-value"}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("GONE_TOKEN", "API_TOKEN"))

    def __len__(self) -> int:
        return 2


def test_a_variable_that_another_thread_removes_is_passed_over() -> None:
    """Met at the end of a sweep: the driver restored its environment while MLflow's thread searched a table."""
    assert secret_values(Vanishing()) == {"a-long-secret-value": "API_TOKEN"}
