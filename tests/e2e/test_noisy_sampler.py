"""The noise-aware sampler in a sweep over real Ray.

Oracles: the study asked again in this process, with the records of the sweep and with the same records without their
standard errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.conftest import SweepRun, write_sweep
from unlearn_sweep.engine.search_settings import Configuration, SearchPlan
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.measured_errors import measured_errors
from unlearn_sweep.sweeps.file.spec import load_spec
from unlearn_sweep.sweeps.resolve import resolve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRIALS, STARTUP = 8, 4


@pytest.fixture(scope="module")
def noisy(storage: Path) -> SweepRun:
    sweep = write_sweep(storage, "noisy", trials=TRIALS, training="workers: 0", at_once=1)
    text = sweep.file.read_text().replace("sampler: tpe", f"sampler: noisy, startup_trials: {STARTUP}")
    sweep.file.write_text(text.replace("reproducible: true", "reproducible: false"))
    sweep.run()
    return sweep


def records_of(sweep: SweepRun) -> list[TrialRecord]:
    found = [TrialRecord.model_validate(record) for record in sweep.trials().values()]
    return sorted(found, key=lambda record: record.number)


def asked_again(sweep: SweepRun, journal: Path, records: Sequence[TrialRecord]) -> list[Configuration]:
    """Ask the study for each trial with the records before it, up to the first that differs from what was run."""
    job = resolve(load_spec(sweep.file))
    plan = SearchPlan.of(job.search, seed=job.seed, objectives=("ue", "ut", "rob"), window=None)
    broker = StudyBroker(journal, job.spaces, plan, identity={})
    found: list[Configuration] = []
    for record in records:
        asked = broker.ask()
        assert asked is not None
        found.append(Configuration(method=asked.method, params=asked.params))
        if (asked.method, asked.params) != (record.method, record.params):
            return found
        broker.settle(record)
    return found


def test_proposals_of_the_sweep_follow_from_its_records_and_their_errors(noisy: SweepRun, tmp_path: Path) -> None:
    records = records_of(noisy)
    assert len(records) == TRIALS
    ran = [Configuration(method=record.method, params=record.params) for record in records]
    assert asked_again(noisy, tmp_path / "same", records) == ran
    complete = [record for record in records if record.state == "complete"]
    assert all(set(measured_errors(record)) == {"ue", "ut", "rob"} for record in complete)
    blind = [without_errors(record) for record in records]
    assert all(not measured_errors(record) for record in blind)
    differs = asked_again(noisy, tmp_path / "blind", blind)
    assert len(differs) > STARTUP
    assert differs != ran


def without_errors(record: TrialRecord) -> TrialRecord:
    details = {
        name: None if detail is None else detail.model_copy(update={"standard_error": None})
        for name, detail in (("ue_detail", record.ue_detail), ("ut_detail", record.ut_detail))
    }
    attacks = [score.model_copy(update={"standard_error": None}) for score in record.attacks]
    return record.model_copy(update={**details, "attacks": attacks})
