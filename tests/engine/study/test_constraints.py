"""Constraints from the record to every place that speaks of the front. Oracle: the recorded numbers, by hand.

Trial 0 has (UE, UT) of (0.9, 0.5), trial 1 (0.8, 0.4), trial 2 (0.4, 0.9); without constraints 0 and 2 are the front.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engine.study.test_finalists import Search
from tests.support.sweep_folder import front_of, trial, write_front, write_sweep
from unlearn_sweep.engine.search_settings import ObjectiveName
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.retention import front_models, keeper_of
from unlearn_sweep.engine.study.constraints import infeasible_reason, marked
from unlearn_sweep.engine.study.front import SweepFront, members_of, rivals_of
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.html_parts import LOST
from unlearn_sweep.sweeps.report.status import status
from unlearn_sweep.sweeps.report.summary_text import answer
from unlearn_sweep.sweeps.report.table import trials_csv


class ConstrainedSearch(Search):
    def __init__(self, storage: Path, *, seeds: int, minimum: dict[ObjectiveName, float]) -> None:
        super().__init__(storage, seeds=seeds)
        search = self.job.search.model_copy(update={"minimum": minimum})
        self.driver.job = self.job = self.job.model_copy(update={"search": search})


def _least(ut: float) -> TrialRecord:
    return marked(trial(int(ut * 10), ut=ut, ue=0.9, rob=0.9), {"ut": 0.6})


@pytest.mark.parametrize(
    ("changes", "minimum", "reason"),
    [
        ({"ut": 0.72}, {"ut": 0.95}, "UT 0.72 is below 0.95"),
        ({"ut": 0.95}, {"ut": 0.95}, None),
        ({"ut": 0.5, "rob": 0.1}, {"ut": 0.6, "rob": 0.2}, "UT 0.5 is below 0.6; Rob 0.1 is below 0.2"),
        ({"rob": None}, {"rob": 0.2}, "Rob has no value; the constraint is at least 0.2"),
        ({"state": "failed", "ut": None}, {"ut": 0.95}, None),
        ({"ut": 0.1}, {}, None),
    ],
)
def test_what_is_infeasible(
    changes: dict[str, object], minimum: dict[ObjectiveName, float], reason: str | None
) -> None:
    assert infeasible_reason(trial(0, **changes), minimum) == reason


def test_an_infeasible_trial_is_no_member_no_rival_and_its_model_is_not_kept() -> None:
    records = [_least(0.5), marked(trial(9, ue=0.4, ut=0.9, rob=0.4), {"ut": 0.6})]
    assert [record.number for record in members_of(records)] == [9]
    assert rivals_of(records) == [(0.4, 0.9, 0.4)]
    grown = SweepFront(2)
    fronts = [grown.add(record) for record in records]
    assert fronts[0].hypervolume == 0.0
    assert fronts[1].front == [records[1].key]
    assert fronts[1].hypervolume == pytest.approx(0.4 * 0.9 * 0.4)
    keepers = [keeper_of(json.loads(record.model_dump_json())) for record in records]
    assert front_models(keepers) == {records[1].stage_keys["unlearn"]}


def test_the_sweep_marks_its_trials_and_only_feasible_ones_get_seeds(tmp_path: Path) -> None:
    search = ConstrainedSearch(tmp_path, seeds=2, minimum={"ut": 0.6})
    search.run()
    records = search.driver.records()
    assert [record.infeasible for record in records] == ["UT 0.5 is below 0.6", "UT 0.4 is below 0.6", None]
    assert [len(record.seeds) for record in records] == [0, 0, 1]
    progress = json.loads((search.job.directory / "progress.json").read_text())
    assert progress["front"] == [records[2].key]
    models = search.driver.store.root / "models"
    assert records[0].stage_keys["unlearn"] not in {path.name for path in models.iterdir()}


def test_report_and_status_mark_infeasible_trials_and_recommend_none_of_them(tmp_path: Path) -> None:
    good, bad = trial(0, ue=0.3, ut=0.9), trial(1, ue=0.9, ut=0.5, infeasible="UT 0.5 is below 0.6")
    sweep = write_sweep(tmp_path / "sweep", [good, bad])
    report = load_report(sweep)
    assert [pick.number for pick in report.picks] == [0]
    assert "1 do not meet the sweep's constraints" in " ".join(answer(report))
    assert "UT 0.5 is below 0.6" in trials_csv(report)
    assert "Infeasible" in LOST
    assert status(sweep)["infeasible"] == [1]


def test_where_no_trial_is_feasible_it_is_said(tmp_path: Path) -> None:
    records = [trial(number, infeasible="UT 0.5 is below 0.95") for number in range(2)]
    sweep = write_sweep(tmp_path / "sweep", records)
    write_front(sweep, front_of(records, [], wanted=2))
    report = load_report(sweep)
    assert report.picks == []
    said = " ".join(answer(report))
    assert "No trial meets the sweep's constraints" in said
    assert "UT 0.5 is below 0.95" in said
