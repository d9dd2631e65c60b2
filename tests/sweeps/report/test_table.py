"""Oracle: the csv module reads back what the records hold."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tests.sweeps.report.written_sweep import NAUGHTY, mixed_trials, special, trial, write_sweep
from unlearn_sweep.engine.privacy.secrets import visible
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.table import FIXED, trials_csv


def _rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(trials_csv(load_report(folder)))))


def test_one_line_a_trial_with_its_numbers(tmp_path: Path) -> None:
    trials = mixed_trials(5)
    rows = _rows(write_sweep(tmp_path / "demo", trials))
    assert [int(row["number"]) for row in rows] == [record.number for record in trials]
    for row, record in zip(rows, trials, strict=True):
        assert row["ue"] == ("" if record.ue is None else repr(record.ue))
        assert row["rob"] == ("" if record.rob is None else repr(record.rob))
        for name, value in record.params.items():
            assert float(row[f"param.{name}"]) == value
        for attack in record.attacks:
            assert row[f"attack.{attack.attack}"] == ("" if attack.value is None else repr(attack.value))
        for stage, seconds in record.stage_seconds.items():
            assert float(row[f"stage_seconds.{stage}"]) == seconds


def test_a_text_never_becomes_a_formula(tmp_path: Path) -> None:
    evil = special(0, "failed").model_copy(update={"reason": '=HYPERLINK("x")', "params": {"a": "+1", "b": -0.5}})
    row = _rows(write_sweep(tmp_path / "demo", [evil]))[0]
    assert row["reason"] == '\'=HYPERLINK("x")'
    assert row["param.a"] == "'+1"
    assert row["param.b"] == "-0.5"


def test_adversarial_texts_stay_in_their_cell(tmp_path: Path) -> None:
    row = _rows(write_sweep(tmp_path / "demo", [trial(0), special(1, "naughty")]))[1]
    assert row["reason"] == visible(NAUGHTY)
    assert row[f"param.{visible(NAUGHTY)}"] == visible(NAUGHTY)


def test_the_fixed_columns_are_there_without_any_trial(tmp_path: Path) -> None:
    text = trials_csv(load_report(write_sweep(tmp_path / "demo", [], front=False)))
    assert text.strip().split(",") == list(FIXED)
