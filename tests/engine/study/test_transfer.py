"""Rank correlation with another sweep. Oracles: rho by hand, scipy, the share of intervals that cover, and records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from tests.support.sweep_folder import trial, write_sweep
from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.search_settings import OtherSweep
from unlearn_sweep.engine.study.transfer import interval, measured, transfer, transfers
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.report.document import make_report
from unlearn_sweep.sweeps.report.records import read_sweep
from unlearn_sweep.sweeps.report.summary_text import answer
from unlearn_sweep.sweeps.resolve import resolve


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    return float(next(iter(spearmanr(first, second))))  # pyright: ignore[reportArgumentType]


def test_by_hand() -> None:
    """Ranks 1..5 against 2, 1, 3, 5, 4: the squared differences add up to 4, so rho = 1 - 6 * 4 / (5 * 24) = 0.8."""
    found = transfer("small", "ue", [(0.1, 0.5), (0.2, 0.4), (0.3, 0.6), (0.4, 0.9), (0.5, 0.8)])
    assert found.correlation == pytest.approx(0.8)
    assert found.settings == 5
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.8 < found.high < 1


def test_ties_are_as_in_scipy() -> None:
    theirs, ours = [0.0, 0.0, 0.3, 0.3, 0.9, 1.0], [0.2, 0.1, 0.1, 0.7, 0.7, 0.6]
    found = transfer("small", "ue", list(zip(theirs, ours, strict=True)))
    assert found.correlation == pytest.approx(spearman(theirs, ours))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Normal pairs with r = 0.6 have rho = 6 / pi * asin(r / 2). 1000 intervals of 30 pairs: 95%, give or take 2%."""
    draw, truth = np.random.default_rng(0), 6 / np.pi * np.arcsin(0.3)
    covered = 0
    for _ in range(1000):
        first, second = draw.normal(size=(2, 30))
        low, high = interval(spearman(first, 0.6 * first + 0.8 * second), 30)
        covered += low is not None and high is not None and low <= truth <= high
    assert 930 <= covered <= 970


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([(0.1, 0.1), (0.2, 0.2)], "fewer than 3 settings"),
        ([(0.1, 0.1), (0.1, 0.2), (0.1, 0.3)], "all values of one sweep are equal"),
    ],
)
def test_no_number_without_ground(pairs: list[tuple[float, float]], reason: str) -> None:
    found = transfer("small", "ut", pairs)
    assert (found.correlation, found.low, found.high) == (None, None, None)
    assert reason in (found.reason or "")


def test_a_perfect_order_has_no_interval() -> None:
    found = transfer("small", "ut", [(0.1, 0.2), (0.2, 0.3), (0.3, 0.7), (0.4, 0.8)])
    assert found.correlation == pytest.approx(1.0)
    assert (found.low, found.high) == (None, None)


def test_only_common_settings_count_and_only_measured_values() -> None:
    def at(number: int, beta: float, ue: float, **more: object) -> object:
        return trial(number, params={"beta": beta}, ue=ue, **more)

    there = [at(n, beta, ue) for n, (beta, ue) in enumerate([(0.1, 0.3), (0.2, 0.2), (0.3, 0.1), (0.9, 0.9)])]
    here = [
        at(0, 0.1, 0.1, rob_is_bound=True),
        at(1, 0.2, 0.2),
        at(2, 0.3, 0.2),
        at(3, 0.3, 0.6),  # the same setting again, with another seed: its mean is 0.4
        at(4, 0.5, 0.0),
        at(5, 0.9, 0.9, state="collapsed"),
    ]
    other = OtherSweep(name="small", trials=measured(there))  # pyright: ignore[reportArgumentType]
    ue, rob = transfers([other], here, ["ue", "rob"])  # pyright: ignore[reportArgumentType]
    assert (ue.settings, ue.correlation) == (3, pytest.approx(-1.0))
    assert (rob.settings, rob.correlation) == (2, None)


@pytest.mark.parametrize("field", ["learn_from", "warm_start"])
def test_the_sweep_keeps_what_the_other_one_measured(tmp_path: Path, field: str) -> None:
    methods = "methods: {npo: {learning_rate: {log: [1e-4, 1e-2]}, beta: 0.1, retain: nll}}"
    records = [trial(0, params={"learning_rate": 1e-3, "beta": 0.7}, ue=0.1)]
    folder = write_sweep(tmp_path / "other", records)
    text = sweep_text(methods=methods, search=f"search: {{trials: 6, {field}: '{folder}'}}", storage="storage: runs")
    others = resolve(parse_spec(text)).search.others
    assert [(other.name, [(one.params, one.values) for one in other.trials]) for other in others] == [
        ("other", [({"learning_rate": 1e-3, "beta": 0.7}, {"ue": 0.1, "ut": 0.9, "rob": 0.4})])
    ]


def test_the_report_says_it(tmp_path: Path) -> None:
    """Four common settings in opposite order in UE: rho -1, and no interval; UT and Rob are equal everywhere."""
    settings = [(number, {"learning_rate": 10.0**-number}) for number in (2, 3, 4, 5)]
    here = [trial(number, params=params, ue=0.1 * number, ut=0.5) for number, params in settings]
    there = [trial(number, params=params, ue=-0.1 * number, ut=0.5) for number, params in settings]
    folder = write_sweep(tmp_path / "here", here)
    lock = yaml.safe_load((folder / "spec.lock.yaml").read_text())
    other = OtherSweep(name="small", trials=measured(there)).model_dump(mode="json")
    lock["job"].setdefault("search", {})["others"] = [other]
    (folder / "spec.lock.yaml").write_text(yaml.safe_dump(lock))
    report = make_report(read_sweep(folder))
    assert [(line.objective, line.settings, line.reason) for line in report.transfer] == [
        ("ue", 4, None),
        ("ut", 4, "all values of one sweep are equal"),
        ("rob", 4, "all values of one sweep are equal"),
    ]
    said = answer(report)[-1]
    assert "the values of small and those here" in said
    assert "UE -1.00 (no interval, 4 settings)" in said
