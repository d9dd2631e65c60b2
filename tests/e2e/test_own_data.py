"""The example of docs/own-data.md, written out and run as a reader would. Oracle: the page itself, and the records."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "own-data.md"
BLOCK = re.compile(r"^`(my/[\w.]+)`.*?\n\n```\w+\n(.*?)```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file of the page, under its own name."""
    place = tmp_path_factory.mktemp("reader")
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert [name for name, _ in blocks] == ["my/forget.jsonl", "my/retain.csv", "my/holdout.jsonl", "my/sweep.yaml"]
    (place / "my").mkdir()
    for name, text in blocks:
        (place / name).write_text(text, encoding="utf-8")
    return place


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unlearn_sweep.sweeps.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(PAGE.parents[1] / "src")},
    )


def answer(folder: Path, *arguments: str) -> Any:
    done = command(folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_sweep_file_has_ten_lines_and_is_valid(folder: Path) -> None:
    assert len((folder / "my/sweep.yaml").read_text().splitlines()) == 10
    began = time.process_time()
    facts = answer(folder, "validate", "my/sweep.yaml", "--json")
    checked, few = facts["rows"].split("; few rows: ")
    assert checked == "checked; to train on 16 forget, 8 retain; to judge by 16 forget, 8 retain, 4 holdout"
    assert few.startswith("the forget side is judged by 16 facts")
    assert time.process_time() - began < 2
    plan = answer(folder, "plan", "my/sweep.yaml", "--json")
    assert plan["obstacles"] == []
    assert plan["trials"] == 2


def test_a_mistake_in_a_file_is_told_by_validate(folder: Path) -> None:
    good = (folder / "my/retain.csv").read_text()
    (folder / "my/broken.csv").write_text(good.replace("question,answer", "question,anwser"))
    text = (folder / "my/sweep.yaml").read_text().replace("retain.csv", "broken.csv")
    (folder / "my/broken.yaml").write_text(text)
    done = command(folder, "validate", "my/broken.yaml")
    assert done.returncode == 2
    assert "broken.csv, row 2, column answer: field required; the row has 'anwser': is that it?" in done.stderr
    assert "benchmark.retain_path" in done.stderr, "the line of the sweep file that names the data file"
    assert "Traceback" not in done.stderr
    assert command(folder, "run", "my/broken.yaml").returncode == 2
    assert not (folder / "runs").exists()


@pytest.mark.timeout(600)
def test_the_example_runs_to_its_end(folder: Path) -> None:
    done = command(folder, "run", "my/sweep.yaml", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    report = answer(folder, "report", "runs/my-sweep", "--json")
    controls = report["controls"]
    assert (controls["original"]["ue"], controls["original"]["ut"]) == (0.0, 1.0)
    measured = {
        (entry["metric"], entry["split"]): entry["value"]
        for entry in controls["original"]["measured"]
        if entry["half"] == "search"
    }
    assert measured["probability", "forget"] > 0.8
    assert measured["probability", "holdout"] < 0.5
    assert {trial["state"] for trial in report["trials"]} <= {"complete", "collapsed"}
    for trial in report["trials"]:
        parts = {part["metric"]: part for part in trial["ue_detail"]["parts"]}
        assert set(parts) == {"probability", "extraction_strength", "rouge", "mia_min_k_auc"}
        assert parts["mia_min_k_auc"]["original"] > 0.8, "the original model knows its rows from others"
