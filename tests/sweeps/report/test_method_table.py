"""Methods side by side. Oracles: hypervolumes and best trials worked out by hand, and `papers.csv` itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeps.report.written_sweep import mixed_trials, special, trial, write_sweep
from unlearn_sweep.engine.store.records import Normalised, Objective, TrialRecord
from unlearn_sweep.evaluators.papers import published_numbers
from unlearn_sweep.sweeps.report.build import build_report, load_report
from unlearn_sweep.sweeps.report.html_table import TrialLink, table
from unlearn_sweep.sweeps.report.method_table import method_lines, published_lines, published_name

ALL = ("ue", "ut", "rob")


def at(number: int, method: str, ue: float, ut: float, rob: float) -> TrialRecord:
    changes = {"method": method, "ue": ue, "ut": ut, "rob": rob, "stage_seconds": {"unlearn": 2.0, "evaluate": 1.0}}
    return trial(number).model_copy(update={**changes, "reused_stages": ["evaluate"]})


def test_each_method_has_its_best_trials_and_the_volume_of_its_own() -> None:
    trials = [
        at(0, "npo", 0.5, 0.9, 0.5),
        at(1, "npo", 0.9, 0.5, 0.9),
        at(2, "simnpo", 0.6, 0.7, 0.6),
        special(3, "duplicate"),
        special(4, "failed").model_copy(update={"method": "npo"}),
    ]
    npo, simnpo = method_lines(trials, [trials[1].key], ALL)
    assert (npo.method, npo.trials, npo.complete, npo.on_front) == ("npo", 3, 2, 1)
    # 0.5 * 0.9 * 0.5 + 0.9 * 0.5 * 0.9 - 0.5 * 0.5 * 0.5
    assert npo.hypervolume == pytest.approx(0.225 + 0.405 - 0.125)
    assert (npo.balance_trial, npo.rob_trial, npo.rob) == (1, 0, 0.5)
    assert npo.balance == pytest.approx(3 / (1 / 0.9 + 1 / 0.5 + 1 / 0.9))
    assert npo.seconds == 4.0 + sum(trials[4].stage_seconds.values())
    assert simnpo.hypervolume == pytest.approx(0.6 * 0.7 * 0.6)
    assert (simnpo.rob, simnpo.rob_trial) == (None, None)


def test_bounds_and_infeasible_trials_are_nobodys_best() -> None:
    barred = [
        at(0, "npo", 0.9, 0.9, 0.9).model_copy(update={"rob_is_bound": True}),
        at(1, "npo", 0.9, 0.9, 0.9).model_copy(update={"infeasible": "UT 0.9 is below 0.95"}),
    ]
    (line,) = method_lines(barred, [], ALL)
    assert (line.balance, line.rob, line.hypervolume) == (None, None, 0.0)


def test_published_numbers_stand_beside_the_same_metric() -> None:
    parts = (
        Normalised(metric="model_utility", split="utility", group="g", value=0.55, original=0.6, gold=None, score=0.9),
    )
    mine = at(0, "simnpo", 0.9, 0.9, 0.9).model_copy(update={"ut_detail": Objective(value=0.9, parts=parts)})
    found = published_lines(method_lines([mine], [], ALL), [mine], "tofu", {"forget": "forget10"})
    wanted = [n for n in published_numbers(benchmark="TOFU forget10") if n.method == "SimNPO"]
    assert [line.published for line in found] == wanted
    assert {line.here for line in found if line.published.metric == "model utility"} == {0.55}
    assert {line.here for line in found if line.published.metric == "forget quality (KS p)"} == {None}


def test_names_of_benchmarks_are_those_of_the_papers() -> None:
    known = {number.benchmark for number in published_numbers()}
    names = [
        published_name("tofu", {"forget": "forget05"}),
        published_name("muse", {"corpus": "news"}),
        published_name("wmdp", {"topic": "cyber"}),
        published_name("rwku", {}),
        published_name("lkf", {}),
    ]
    assert None not in names
    assert known >= set(names)
    assert published_name("authors", {}) is None


def test_the_page_says_whether_the_budget_was_equal_and_links_trials(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(7))
    page, report = build_report(folder).page.read_text(), load_report(folder)
    counts = sorted(line.trials for line in report.methods)
    assert counts[0] < counts[-1]
    assert f"The methods had {counts[0]} to {counts[-1]} trials" in page
    best = report.methods[0]
    assert f'{best.balance:.3f} <a href="#trial-{best.balance_trial}">trial {best.balance_trial}</a>' in page


def test_cells_are_escaped_and_long_ones_folded() -> None:
    text = table(["<b>"], [["<i>"], ["x" * 300], [TrialLink("<u>", 3)]], label='"')
    assert "<b>" not in text
    assert "<i>" not in text
    assert "<u>" not in text
    assert text.count("<details>") == 1
    assert 'aria-label="&quot;"' in text
