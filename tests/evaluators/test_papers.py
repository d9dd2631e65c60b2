"""Published numbers. Oracles: values printed in the papers, their own formulas, and the schema."""

from __future__ import annotations

import json
from collections import Counter
from statistics import fmean

import pytest
from typer.testing import CliRunner

from unlearn_sweep.evaluators.papers import GRADES, PublishedNumber, papers, published_numbers
from unlearn_sweep.sweeps.cli import app

FULL_STACK = "Full-Stack 2510.07626"


@pytest.fixture(scope="module")
def numbers() -> list[PublishedNumber]:
    return published_numbers()


def value(numbers: list[PublishedNumber], **wanted: str) -> float:
    (found,) = [number for number in numbers if all(getattr(number, name) == part for name, part in wanted.items())]
    return found.value


def test_each_number_is_there_once(numbers: list[PublishedNumber]) -> None:
    keys = Counter((n.paper, n.benchmark, n.model, n.method, n.metric) for n in numbers)
    assert [key for key, count in keys.items() if count > 1] == []
    assert len(numbers) > 680
    assert {number.grade for number in numbers} == set(GRADES)
    assert len(papers(numbers)) == 10


def test_shares_and_percents_are_in_their_range(numbers: list[PublishedNumber]) -> None:
    for number in numbers:
        if number.unit in ("share", "p-value"):
            assert 0 <= number.value <= 1, number
        if number.unit == "percent" and number.metric != "PrivLeak":
            assert 0 <= number.value <= 100, number


@pytest.mark.parametrize(("method", "printed"), [("DPO", 0.53), ("IDK+AP", 0.38)])
def test_the_utility_average_printed_in_the_paper_follows_from_its_cells(
    numbers: list[PublishedNumber], method: str, printed: float
) -> None:
    """UT_avg = mean of the means of (MMLU, TruthfulQA, MathQA) and (IFEval, GSM8K): .531 and .38 by hand."""

    def cell(metric: str) -> float:
        return value(numbers, paper=FULL_STACK, benchmark="WMDP-Bio", method=method, metric=metric)

    parts = [("MMLU", "TruthfulQA", "MathQA"), ("IFEval", "GSM8K")]
    assert round(fmean(fmean(cell(metric) for metric in part) for part in parts), 2) == printed
    assert cell("UT_avg") == printed


def test_averages_computed_by_us_follow_the_same_formula(numbers: list[PublishedNumber]) -> None:
    """Cells are rounded to two digits, so the average may be off by one in the last."""
    for number in numbers:
        if number.metric == "UT_avg" and "computed by us" in number.note:
            cells = {n.metric: n.value for n in numbers if n.paper == FULL_STACK and n.method == number.method}
            parts = [("MMLU", "TruthfulQA", "MathQA"), ("IFEval", "GSM8K")]
            expected = fmean(fmean(cells[metric] for metric in part) for part in parts)
            assert number.value == pytest.approx(expected, abs=0.011), number.method


def test_some_numbers_as_they_are_printed(numbers: list[PublishedNumber]) -> None:
    ours = {"paper": "open-unlearning docs/repro.md", "benchmark": "MUSE-News", "method": "NPO"}
    assert value(numbers, **ours, metric="PrivLeak") == -86.0
    assert (
        value(numbers, benchmark="TOFU forget10", model="Llama-2-7B-chat", method="NPO", metric="model utility") == 0.54
    )
    assert value(numbers, benchmark="LKF", method="JensUn", metric="quality win rate") == 0.47
    assert value(numbers, benchmark="RWKU", model="Phi-3-mini", method="NPO full", metric="neighbour all") == 51.3


def test_a_number_that_was_never_seen_is_graded_so(numbers: list[PublishedNumber]) -> None:
    assert {number.grade for number in numbers if "not verified" in number.note} == {"R"}
    assert all("not verified" in number.note for number in numbers if number.grade == "R")


def test_the_command_prints_all_or_some(numbers: list[PublishedNumber]) -> None:
    done = CliRunner().invoke(app, ["papers", "--json"])
    assert json.loads(done.stdout) == [number.model_dump() for number in numbers]
    some = json.loads(
        CliRunner().invoke(app, ["papers", "--json", "--benchmark", "muse-news", "--method", "rmu"]).stdout
    )
    assert {(row["benchmark"], row["method"]) for row in some} == {("MUSE-News", "RMU")}
    assert len(some) == 4
    table = CliRunner().invoke(app, ["papers", "--benchmark", "lkf"], env={"COLUMNS": "200"}).stdout
    assert "JensUn 2509.02820" in table
    assert "grades: C read in the authors' code" in table
    assert "no published number fits" in CliRunner().invoke(app, ["papers", "--method", "none-such"]).stdout
