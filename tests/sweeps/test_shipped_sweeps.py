"""The sweep files that ship. Oracle: validate and plan themselves, with every way to the network closed."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from tests.sweeps.shipped_files import placed
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.sweeps.cli import app

FOLDER = Path("sweeps")
FILES = sorted(FOLDER.glob("*.yaml"))
PUBLISHED = ("tofu", "muse_news", "muse_books", "wmdp_bio", "wmdp_bio_filtered", "wmdp_cyber", "lkf", "rwku", "lume")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a plan must not reach for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def answer(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.stdout
    return json.loads(done.stdout)


def test_every_published_benchmark_has_its_files() -> None:
    assert "blur" in {file.stem for file in FILES}, "which trains on files of one's own"
    assert set(PUBLISHED) <= {file.stem for file in FILES}
    assert {name.partition("_")[0] for name in PUBLISHED} == set(BENCHMARKS) - {"authors", "custom", "blur"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_valid_and_can_be_planned(file: Path, tmp_path: Path) -> None:
    given = str(placed(file, tmp_path / "given"))
    began = time.process_time()
    facts = answer("validate", given)
    assert facts["valid"]
    assert time.process_time() - began < 2
    storage = tmp_path / "runs"
    storage.mkdir()
    plan = answer("plan", given, "--storage", str(storage), "--cpus", "64")
    assert plan["trials"] == facts["trials"]
    assert plan["obstacles"] == []
    assert list(storage.iterdir()) == [], "a plan writes nothing"


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_not_known_before_the_hub_is_asked_is_said(name: str) -> None:
    file = str(FOLDER / f"{name}.yaml")
    plan = answer("plan", file)
    sized = name == "tofu"  # the number and lengths of its rows are known here
    assert (plan["total_seconds"] is not None) == sized
    (note,) = [note for note in plan["notes"] if note.startswith("rows are on the hub")]
    assert (
        "what a metric lacks is not known" if sized else "times, disk and what a metric lacks are not known"
    ) in note
    assert "unpinned, so the newest: give benchmark.revision" in note
    assert answer("validate", file)["rows"].startswith("on the hub, ")


def test_the_gated_corpus_is_named_before_anything_starts() -> None:
    assert "the bio-forget corpus is not public" in answer("validate", str(FOLDER / "wmdp_bio.yaml"))["rows"]
