"""A mirror over real Ray, as a user starts it. Oracles: the files on both sides, the event log, the exit status."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import SweepRun, write_sweep
from tests.support.mirrors import tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRIALS = 2


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage that no other test has, since it is thrown away, and room for mirrors beside it."""
    folder = tmp_path_factory.mktemp("mirrored")
    (folder / "runs").mkdir()
    return folder


@pytest.fixture(scope="module")
def broken(place: Path) -> tuple[SweepRun, str]:
    """A sweep whose mirror becomes a file while it runs, and what was printed."""
    sweep = write_sweep(place / "runs", "broken", trials=TRIALS, training="workers: 0", at_once=2)
    copy = place / "broken-copy"
    process = sweep.start("--mirror", f"file://{copy}")
    deadline = time.monotonic() + 300
    while not (copy / "store" / "stages").is_dir() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    break_mirror(copy)
    output, _ = process.communicate(timeout=420)
    assert process.returncode == 0, output
    return sweep, output


def break_mirror(copy: Path) -> None:
    """Put a file in the folder's place, while the sweep writes into it and may make the folder again in between."""
    for attempt in range(100):
        try:
            copy.rename(copy.with_name(f"gone-{attempt}"))
            copy.write_text("no folder any more")
        except OSError:
            continue
        return
    pytest.fail("the mirror could not be broken")


def test_a_sweep_whose_mirror_breaks_ends_well_and_says_what_was_not_copied(broken: tuple[SweepRun, str]) -> None:
    sweep, output = broken
    assert sorted(sweep.trials()) == list(range(TRIALS))
    (line,) = [line for line in output.splitlines() if "is incomplete (" in line]
    assert f"{TRIALS} records" in line  # also what was copied before the mirror broke and is gone
    assert "rerun the same command to copy the rest" in line
    assert sum("The sweep continues without it" in line for line in output.splitlines()) <= 1
    events = [event["event"] for event in sweep.events()]
    assert events[-1] == "sweep_finished"


@pytest.fixture(scope="module")
def mirrored(place: Path, broken: tuple[SweepRun, str]) -> SweepRun:
    """A sweep with a mirror in its file, run to its end. Original and gold model are there already."""
    sweep = write_sweep(place / "runs", "copied", trials=TRIALS, training="workers: 0", at_once=2)
    sweep.file.write_text(f"{sweep.file.read_text()}mirror: file://{place}/copy\n")
    moved = place / "copied.yaml"
    shutil.move(sweep.file, moved)
    run = SweepRun(file=moved, directory=sweep.directory, storage=sweep.storage)
    assert "does not have" not in run.run()
    return run


def test_an_empty_storage_goes_on_from_the_mirror(mirrored: SweepRun, place: Path) -> None:
    copy, before = place / "copy", tree(mirrored.directory)
    assert not (copy / "copied/driver.json").exists()
    names = {name for name in before if name.split("/")[0] in ("trials", "report", "study.journal", "events.jsonl")}
    assert {name: data for name, data in tree(copy / "copied").items() if name in names} == {
        name: before[name] for name in names
    }
    trained = {record["stage_keys"]["unlearn"] for record in mirrored.trials().values()}
    others = {folder.name for folder in (copy / "store/models").iterdir()} - trained  # original and gold at least
    assert len(others) >= 2
    shutil.rmtree(mirrored.storage)
    output = mirrored.run()
    assert f"fetching the sweep with {TRIALS} settled trials, " in output
    assert f"{len(others)} models (" in output  # those of the front are fetched when they are asked for
    assert "nothing to do" in output
    assert {name: data for name, data in tree(mirrored.directory).items() if name.startswith("trials/")} == {
        name: data for name, data in before.items() if name.startswith("trials/")
    }
    known = len(mirrored.events())
    mirrored.run("--trials", str(TRIALS + 1))
    assert sorted(mirrored.trials()) == list(range(TRIALS + 1))
    new = mirrored.events()[known:]
    assert {event.get("trial") for event in new if event["event"] == "stage_finished"} == {TRIALS}
    assert [event for event in new if event["event"] == "stage_reused" and event.get("trial") is None]
    assert (copy / "copied/trials" / f"{TRIALS}.json").is_file()


def test_a_front_members_model_is_exported_from_the_mirror(mirrored: SweepRun, place: Path) -> None:
    first = json.loads((mirrored.directory / "progress.json").read_text())["front"][0]
    trial = next(record for record in mirrored.trials().values() if record["key"] == first)
    here = mirrored.storage / "store/models" / trial["stage_keys"]["unlearn"]
    shutil.rmtree(here, ignore_errors=True)
    out = place / "exported"
    subprocess.run(mirrored.command("export", str(mirrored.directory), first, str(out)), check=True)
    copied = place / "copy/store/models" / trial["stage_keys"]["unlearn"]
    assert (out / "model.safetensors").read_bytes() == (copied / "model.safetensors").read_bytes()
