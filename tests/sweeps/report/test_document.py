"""Oracle: the records themselves; every number of the report is found in one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sweeps.report.written_sweep import controls, mixed_trials, special, trial, write_sweep
from unlearn_sweep.engine.store.durable import file_lock
from unlearn_sweep.engine.study.front import front_of
from unlearn_sweep.sweeps.report.build import load_report, report_json
from unlearn_sweep.sweeps.report.document import Report
from unlearn_sweep.sweeps.report.summary_text import answer

PUBLISHED = {
    "key",
    "number",
    "method",
    "params",
    "seed",
    "state",
    "ue",
    "ut",
    "rob",
    "rob_is_bound",
    "attacks",
    "stage_seconds",
}


def test_the_json_has_the_published_fields_and_the_records_numbers(tmp_path: Path) -> None:
    trials = mixed_trials(10)
    report = load_report(write_sweep(tmp_path / "demo", trials))
    document = json.loads(report_json(report))
    assert {"trials", "front", "hypervolume", "hypervolume_curve", "controls"} <= document.keys()
    for shown, record in zip(document["trials"], trials, strict=True):
        written = json.loads(record.model_dump_json())
        assert shown.keys() >= PUBLISHED
        assert {name: shown[name] for name in PUBLISHED} == {name: written[name] for name in PUBLISHED}
        assert [shown[f"report_{name}"] for name in ("ue", "ut", "rob")] == [
            written[f"report_{name}"] for name in ("ue", "ut", "rob")
        ]
    front = front_of(trials, wanted=len(trials))
    assert document["front"] == front.front
    assert document["hypervolume"] == front.hypervolume
    assert document["hypervolume_curve"] == [list(point) for point in front.hypervolume_curve]
    assert document["controls"] == json.loads(controls().model_dump_json())


def test_the_json_reads_back_as_the_same_report(tmp_path: Path) -> None:
    report = load_report(write_sweep(tmp_path / "demo", mixed_trials(5)))
    assert Report.model_validate_json(report_json(report)) == report


def test_a_duplicate_of_a_front_member_is_not_counted_beside_it(tmp_path: Path) -> None:
    best = trial(0).model_copy(update={"ue": 1.0, "ut": 1.0, "rob": 1.0})
    report = load_report(write_sweep(tmp_path / "demo", [best, special(1, "duplicate")]))
    assert [trial.on_front for trial in report.trials] == [True, False]


def test_trials_under_way_are_listed_with_what_the_log_knows(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [trial(0)], running=1, ended=None, wanted=5)
    with file_lock(folder / "driver.lock", wait=False):
        report = load_report(folder)
    shown = report.trials[1]
    assert (shown.number, shown.state, shown.method, shown.key) == (1, "running", "npo", "open1")
    assert shown.stages_open == ["unlearn"]
    assert shown.ue is None
    assert report.counts == {"complete": 1, "running": 1}


def test_an_empty_sweep_says_so(tmp_path: Path) -> None:
    report = load_report(write_sweep(tmp_path / "demo", [], front=False, with_controls=False, ended=None))
    assert report.front == []
    assert report.picks == []
    assert answer(report) == ["No trial has all its objectives yet, so there is no front to show."]


def test_secrets_of_the_environment_are_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "correct-horse-battery"
    monkeypatch.setenv("JUDGE_API_KEY", secret)
    failed = special(1, "failed").model_copy(update={"reason": f"401 for {secret}", "params": {"note": secret}})
    folder = write_sweep(
        tmp_path / "demo", [trial(0), failed], spec={"mlflow": f"https://user:{secret}@tracking.example.org"}
    )
    text = report_json(load_report(folder))
    assert secret not in text
    assert "[JUDGE_API_KEY]" in text


def test_the_answer_states_the_front_and_the_attack_that_leaves_least(tmp_path: Path) -> None:
    trials = [trial(number) for number in range(9)]
    report = load_report(write_sweep(tmp_path / "demo", trials))
    sentences = answer(report)
    assert sentences[0].startswith(f"Start with trial {report.picks[0].number} ")
    assert any(
        text.startswith(f"{len(report.front)} of 9 settled trials are on the Pareto front") for text in sentences
    )
    lowest = [min(t.attacks, key=lambda attack: attack.value or 0.0).attack for t in trials]
    most = max(set(lowest), key=lowest.count)
    assert f"most often {most}: in {lowest.count(most)} of 9" in sentences[-1]


def test_without_a_held_out_half_the_answer_says_which_rows_it_speaks_of(tmp_path: Path) -> None:
    bare = trial(0).model_copy(update={"report_ue": None, "report_ut": None, "report_rob": None})
    text = " ".join(answer(load_report(write_sweep(tmp_path / "demo", [bare]))))
    assert "the rows that the search used" in text
    assert f"UE of {bare.ue:.2f}" in text
