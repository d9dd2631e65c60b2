"""The prompt format and the probe's finding in report, page and summary. Oracle: the file that preparation writes."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.sweeps.report.written_sweep import mixed_trials, write_sweep
from unlearn_sweep.engine.stages.prompt_probe import FormatScore, ProbeResult
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY
from unlearn_sweep.sweeps.prompt_words import RUNNING_TEXT, SWITCHED_OFF, TRAINED_HERE
from unlearn_sweep.sweeps.report.build import load_report, report_json
from unlearn_sweep.sweeps.report.document import Report
from unlearn_sweep.sweeps.report.html_parts import warnings
from unlearn_sweep.sweeps.report.summary import final_table

OWN = FormatScore(words="plain text", option={"format": "plain"}, logp=-2.5)
CHAT = FormatScore(words="chat", option={"format": "chat"}, logp=-0.1, gain=2.4, gain_se=0.1)
WORSE = FormatScore(words="chat", option={"format": "chat"}, logp=-4.0, gain=-1.5, gain_se=0.1)
GIVEN = {"original": {"path": "/models/original"}}


def report_of(tmp_path: Path, result: ProbeResult | None, spec: dict[str, Any]) -> tuple[Path, Report]:
    asked = {"benchmark": {"name": "authors", "params": {FORMAT_KEY: {"format": "plain"}}}}
    folder = write_sweep(tmp_path / "demo", mixed_trials(3), spec=asked | spec)
    if result is not None:
        (folder / "prompt.json").write_text(result.model_dump_json())
    return folder, load_report(folder)


def test_a_format_that_is_clearly_wrong_is_in_json_page_and_summary(tmp_path: Path) -> None:
    result = ProbeResult(rows=16, configured=OWN, others=[CHAT])
    folder, report = report_of(tmp_path, result, GIVEN)
    written = json.loads(report_json(report))["prompt"]
    assert written["warning"] == result.sentence() != ""
    assert [score["logp"] for score in written["others"]] == [CHAT.logp]
    assert written["configured"]["logp"] == OWN.logp
    assert escape(result.sentence()[1:]) in warnings(report)
    console = Console(record=True, width=4000)
    final_table(folder, console)
    assert result.sentence() in console.export_text()


@pytest.mark.parametrize(
    ("result", "spec", "words"),
    [
        (
            ProbeResult(rows=16, configured=OWN, others=[WORSE]),
            GIVEN,
            "mean log-probability of 16 trained rows -2.50 per",
        ),
        (ProbeResult(rows=0), GIVEN, RUNNING_TEXT),
        (None, GIVEN | {"prompt_probe": False}, SWITCHED_OFF),
        (None, {"original": {"path": None}}, TRAINED_HERE),
    ],
)
def test_what_was_probed_or_why_not_is_said_without_a_warning(
    tmp_path: Path, result: ProbeResult | None, spec: dict[str, Any], words: str
) -> None:
    _, report = report_of(tmp_path, result, spec)
    assert report.prompt is not None
    assert report.prompt.warning is None
    assert words in str(report.prompt.probe)
    assert words in warnings(report)
    assert "Prompt format: plain" in warnings(report)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    folder, _ = report_of(tmp_path, None, GIVEN)
    (folder / "prompt.json").write_text("{")
    report = load_report(folder)
    assert report.prompt is not None
    assert report.prompt.probe == "prompt.json cannot be read (ValidationError)"
