"""Audits of models whose answer is known. Oracles: the anchors, the event log, and the metrics' own means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_authors import PREFILL, QUANTIZE, make_ready, tiny_job
from unlearn_sweep.engine.driver.audit import run_audit
from unlearn_sweep.engine.job import ModelSource, SweepJob
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A storage with original and gold model in it."""
    storage = tmp_path_factory.mktemp("storage")
    _, prepared, _ = make_ready(tiny_job(storage, "made", [PREFILL, QUANTIZE]))
    return storage, prepared.paths


def _job(storage: Path, name: str, **given: str) -> SweepJob:
    job = tiny_job(storage, name, [PREFILL, QUANTIZE], prune=False)
    return job.model_copy(update={which: ModelSource(path=path) for which, path in given.items()})


def _mean(rows: Any, metric: str) -> float:
    """Over the forget split."""
    return float(rows.loc[rows["split"] == "forget", metric].mean())


def _finished(job: SweepJob) -> list[str | None]:
    return [event.stage for event in EventLog(job.directory / "events.jsonl").read() if event.event == "stage_finished"]


def test_the_controls_themselves_are_at_their_anchors(models: tuple[Path, dict[str, str]]) -> None:
    storage, paths = models
    records: dict[str, TrialRecord] = {}
    for which, path in paths.items():
        records[which] = run_audit(_job(storage, f"of-{which}", **paths), path)
    original, gold = records["original"], records["gold"]
    assert (original.ue, original.ut, original.rob) == (0.0, 1.0, 0.0)
    assert gold.ue is not None
    assert gold.rob is not None
    assert min(gold.ue, gold.rob) >= 0.95
    assert [score.skipped for score in gold.attacks] == [False, False]
    assert gold.model_path == paths["gold"]


def test_an_audit_is_done_once_and_goes_on_with_what_it_has(models: tuple[Path, dict[str, str]]) -> None:
    storage, paths = models
    job = _job(storage, "again", **paths)
    first = run_audit(job, paths["gold"])
    said: list[str] = []
    assert run_audit(job, paths["gold"], announce=said.append) == first
    assert said == ["nothing to do: the audit of this model is complete"]
    before = len(_finished(job))
    (job.directory / "trials" / "0.json").unlink()  # as if killed before its last write
    again = run_audit(job, paths["gold"])
    assert len(_finished(job)) == before
    assert (again.ue, again.ut, again.rob, again.key) == (first.ue, first.ut, first.rob, first.key)


def test_without_a_control_the_metrics_stand_alone_and_say_why(models: tuple[Path, dict[str, str]]) -> None:
    storage, paths = models
    job = _job(storage, "alone", original=paths["original"])
    record = run_audit(job, paths["gold"], controls=["original"])
    assert (record.state, record.ue, record.rob) == ("complete", None, None)
    assert record.ut is not None
    assert not (job.directory / "controls.json").exists()
    assert all(score.value is None and "no gold model" in (score.reason or "") for score in record.attacks)
    assert record.ue_detail is not None
    parts = {part.metric: part for part in record.ue_detail.parts}
    rows = StageStore(storage).rows(record.stage_keys["evaluate"])
    assert parts["probability"].value == pytest.approx(_mean(rows, "probability"))
    assert (parts["probability"].gold, parts["probability"].score) == (None, None)
    assert parts["probability"].original is not None
    assert [len(score.curve) for score in record.attacks] == [1, 2]
    nothing = run_audit(_job(storage, "none"), paths["gold"], controls=[])
    assert (nothing.ue, nothing.ut, nothing.rob) == (None, None, None)
    assert nothing.ut_detail is not None
    assert "no original model and no gold model" in (nothing.ut_detail.reason or "")
