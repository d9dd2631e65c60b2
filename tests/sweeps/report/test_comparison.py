"""Several sweeps in one page. Oracles: each sweep's own report, and the settings they were written with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from tests.sweeps.report.written_sweep import mixed_trials, special, trial, write_sweep
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.report.build import load_report

runner = CliRunner()
SAME: dict[str, Any] = {"ue_metrics": ["probability"], "ut_metrics": ["rouge"], "training": {"epochs": 5}}


def test_each_sweep_has_its_line_and_a_link_to_its_report(tmp_path: Path) -> None:
    one = write_sweep(tmp_path / "one", mixed_trials(5), spec=SAME)
    two = write_sweep(tmp_path / "t<w>o", mixed_trials(7, seed=3), spec=SAME)
    done = runner.invoke(app, ["report", str(one), str(two)])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(tmp_path / "comparison.html")
    page = (tmp_path / "comparison.html").read_text()
    assert "the objectives can be compared" in page
    assert '<a href="one/report/index.html">one</a>' in page
    assert "<w>" not in page
    for folder in (one, two):
        report = load_report(folder)
        assert (
            f'<td class="number">{report.hypervolume:.3f}</td>' in page or f"<td>{report.hypervolume:.3f}</td>" in page
        )
        for line in report.methods:
            assert f"{line.balance:.3f} (trial {line.balance_trial})" in page
        assert (folder / "report" / "index.html").is_file()
    assert len(re.findall("data:image/png;base64,", page)) == 2  # for light and for dark


def test_what_differs_is_said_with_both_values(tmp_path: Path) -> None:
    one = write_sweep(tmp_path / "one", [trial(0)], spec=SAME)
    two = write_sweep(tmp_path / "two", [trial(0)], spec={**SAME, "ue_metrics": ["rouge"], "training": {"epochs": 9}})
    assert runner.invoke(app, ["report", str(one), str(two)]).exit_code == 0
    page = (tmp_path / "comparison.html").read_text()
    assert "The sweeps differ in metrics of UE, training epochs: where" in page
    assert "<td>metrics of UE</td><td>[&quot;probability&quot;]</td><td>[&quot;rouge&quot;]</td>" in page
    assert "<td>training epochs</td><td>5</td><td>9</td>" in page


def test_a_sweep_without_a_front_is_compared_too(tmp_path: Path) -> None:
    one = write_sweep(tmp_path / "a" / "same", [special(0, "failed")])
    two = write_sweep(tmp_path / "b" / "same", [special(0, "naughty")])
    assert runner.invoke(app, ["report", str(one), str(two)]).exit_code == 0
    page = (tmp_path / "a" / "comparison.html").read_text()
    assert '<a href="../b/same/report/index.html">b/same</a>' in page
    assert "<script" not in page


def test_mistakes(tmp_path: Path) -> None:
    one = write_sweep(tmp_path / "one", [trial(0)])
    for words, said in (
        ([str(one), str(one)], "the same sweep is given twice"),
        ([str(one), str(tmp_path / "two")], "is no sweep"),
        ([str(one), str(one), "--json"], "--json prints one sweep"),
    ):
        done = runner.invoke(app, ["report", *words])
        assert (done.exit_code, said in done.output) == (2, True), done.output
