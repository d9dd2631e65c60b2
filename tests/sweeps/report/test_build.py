"""Oracle: the files on disk, and the report of the same records."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeps.report.written_sweep import mixed_trials, write_sweep
from unlearn_sweep.sweeps.report.build import build_report, load_report
from unlearn_sweep.sweeps.report.document import Report
from unlearn_sweep.sweeps.report.records import SweepNotFoundError

FILES = {
    "index.html",
    "report.json",
    "trials.csv",
    "answers.csv",
    "front.png",
    "attacks.png",
    "hypervolume.png",
    "time.png",
}


def test_the_report_folder_is_filled_and_filled_anew(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(5))
    paths = build_report(folder)
    assert {path.name for path in (folder / "report").iterdir()} == FILES
    assert Report.model_validate_json(paths.data.read_bytes()).trials == load_report(folder).trials
    assert '"number":0,' in paths.page.read_text()
    (folder / "trials" / "0.json").unlink()
    build_report(folder)
    assert {path.name for path in (folder / "report").iterdir()} == FILES
    assert '"number":0,' not in paths.page.read_text()
    assert 0 not in [trial.number for trial in Report.model_validate_json(paths.data.read_bytes()).trials]


def test_a_folder_that_is_no_sweep_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(SweepNotFoundError):
        build_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
