"""Who may write to a mirror, and what a mirror that fails does to a sweep: nothing. Oracle: files, and what is said."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.faults.recorded_sweep import TRIALS, job_of
from tests.support.mirrors import BEATEN, THIRD, open_mirror, push, record, tree
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.mirror.address import MirrorError, side_by_side
from unlearn_sweep.engine.mirror.background import mirrored
from unlearn_sweep.engine.mirror.presence import DriverMark, mark_driver, place_of
from unlearn_sweep.engine.store.driver_lock import SweepBusyError
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.sweeps.launch import launch
from unlearn_sweep.user_error import EXIT_REFUSED


def _refusal(job: SweepJob, uri: str) -> str:
    with pytest.raises(MirrorError) as caught, mirrored(job.model_copy(update={"mirror": uri}), lambda _: None):
        pass
    return str(caught.value)


def test_a_mirror_that_is_further_than_the_folder_here_is_not_overwritten(
    here: SweepJob, uri: str, tmp_path: Path
) -> None:
    push(here, uri)
    (here.directory / "trials" / f"{THIRD}.json").unlink()
    before = tree(tmp_path / "copy")
    said = _refusal(here, uri)
    assert "the mirror has 3 settled trials, here are 2, and not its 3" in said
    assert f"move {here.directory} away" in said
    assert tree(tmp_path / "copy") == before


def test_two_that_went_on_apart_are_told_apart(here: SweepJob, uri: str, tmp_path: Path) -> None:
    push(here, uri)
    path = here.directory / "trials" / f"{BEATEN}.json"
    path.write_text(json.dumps(record(here, BEATEN) | {"key": "somebody-else", "reason": "and longer"}))
    before = tree(tmp_path / "copy")
    assert "trial 2 differs between the mirror and here" in _refusal(here, uri)
    assert tree(tmp_path / "copy") == before


def test_another_sweep_of_the_same_name_is_refused(here: SweepJob, uri: str, tmp_path: Path) -> None:
    push(here, uri)
    before = tree(tmp_path / "copy")
    other = job_of(tmp_path / "other").model_copy(update={"seed": 99})
    assert "has a different sweep named sweep" in _refusal(other, uri)
    assert not other.directory.exists()
    said: list[str] = []
    with mirrored(here.model_copy(update={"mirror": uri, "seed": 99}), said.append) as thread:
        assert thread is None, "the folder here is another sweep: its driver refuses it, and nothing is copied"
    assert tree(tmp_path / "copy") == before


def test_a_driver_over_another_storage_is_refused_while_its_mark_is_fresh(
    here: SweepJob, uri: str, tmp_path: Path
) -> None:
    job = here.model_copy(update={"mirror": uri})
    mark = tmp_path / "copy/sweep/driver.json"
    other = job_of(tmp_path / "other").model_copy(update={"mirror": uri})
    with mirrored(job, lambda _: None):
        assert DriverMark.model_validate_json(mark.read_bytes()).place == place_of(StageStore(here.storage))
        said = _refusal(other, uri)
        assert f"is being run by process {os.getpid()} of" in said
        assert "wait three minutes until its sweep/driver.json expires, or delete that file" in said
        with pytest.raises(SweepBusyError), mirrored(job, lambda _: None):
            pass
    assert not mark.exists()
    mark_driver(open_mirror(uri), "sweep", "elsewhere", "process 1 of somebody on a-dead-machine")
    fresh = json.loads(mark.read_text())
    assert "a-dead-machine" in _refusal(other, uri)
    mark.write_text(json.dumps(fresh | {"time": fresh["time"] - 200}))
    with mirrored(other, lambda _: None):
        pass
    assert (other.directory / "trials" / f"{THIRD}.json").is_file()


def test_a_killed_driver_goes_on_at_once_over_the_same_storage(here: SweepJob, uri: str) -> None:
    mark_driver(open_mirror(uri), "sweep", place_of(StageStore(here.storage)), "process 1 of me, killed")
    with mirrored(here.model_copy(update={"mirror": uri}), lambda _: None) as thread:
        assert thread is not None


def test_a_driver_that_is_taken_over_copies_no_more(here: SweepJob, uri: str, tmp_path: Path) -> None:
    said: list[str] = []
    with mirrored(here.model_copy(update={"mirror": uri}), said.append) as thread:
        assert thread is not None
        mark_driver(open_mirror(uri), "sweep", "elsewhere", "process 2 of another")
    assert any("process 2 of another has taken this sweep over" in line for line in said)
    assert "Not copied: " in said[-1]
    assert DriverMark.model_validate_json((tmp_path / "copy/sweep/driver.json").read_bytes()).place == "elsewhere"
    assert not (tmp_path / "copy/sweep/trials").exists()


# --- a mirror that fails ----------------------------------------------------------------------------------------------


def test_a_mirror_that_breaks_is_told_once_and_what_it_lacks_at_the_end(
    here: SweepJob, uri: str, tmp_path: Path
) -> None:
    said: list[str] = []
    with mirrored(here.model_copy(update={"mirror": uri}), said.append, every_s=0.05) as thread:
        assert thread is not None
        shutil.rmtree(tmp_path / "copy")
        (tmp_path / "copy").write_text("no folder any more")
        for _ in range(20):
            thread.poke()
    assert len(said) == 2, said
    assert "The sweep continues without it" in said[0]
    assert f"The mirror {uri} is incomplete (" in said[1]
    assert "3 records, 5 models" in said[1]
    assert "rerun the same command to copy the rest" in said[1]
    (tmp_path / "copy").unlink()
    with mirrored(here.model_copy(update={"mirror": uri}), said.append):
        pass
    assert len(said) == 2, said
    assert len(tree(tmp_path / "copy/sweep/trials")) == len(TRIALS)


HANG = """
import pathlib, sys, time
from unlearn_sweep.engine.mirror import background
from tests.faults.recorded_sweep import job_of
background.CLOSE_S = 1.0
job = job_of(pathlib.Path(sys.argv[1])).model_copy(update={"mirror": sys.argv[2]})
with background.mirrored(job, print):
    pass
"""


def test_a_mirror_that_hangs_is_waited_for_no_longer_than_said(here: SweepJob, uri: str, tmp_path: Path) -> None:
    """The scratch name of a file is a pipe that nobody reads: whoever opens it to write waits for ever."""
    (tmp_path / "copy/sweep").mkdir(parents=True)
    writer = digest([place_of(StageStore(here.storage)), here.name])
    os.mkfifo(tmp_path / "copy/sweep" / f".spec.lock.yaml.{writer}.part")
    command = [sys.executable, "-c", HANG, str(here.storage), uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "is incomplete (it did not finish in 1 s)" in done.stdout
    assert "3 records, 5 models" in done.stdout


def test_a_hand_that_hangs_does_not_keep_the_process() -> None:
    code = (
        "import threading, time\nfrom engine.mirror.address import side_by_side\n"
        "hang = lambda _: time.sleep(3600)\n"
        "threading.Thread(target=side_by_side, args=(hang, [1, 2, 3], 8), daemon=True).start()\ntime.sleep(0.2)"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_several_hands_keep_the_order_and_hand_on_the_first_error() -> None:
    assert side_by_side(lambda item: item * 2, list(range(100)), 8) == [2 * item for item in range(100)]
    assert side_by_side(lambda item: item, list[int](), 8) == []
    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        if item == 3:
            raise OSError("the third")

    with pytest.raises(OSError, match="the third"):
        side_by_side(work, list(range(1000)), 2)
    assert len(done) < 1000


def test_an_address_that_cannot_be_written_is_refused_before_anything(here: SweepJob, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    other = job_of(tmp_path / "other").model_copy(update={"mirror": f"file://{tmp_path}/file/copy", "mlflow": "off"})
    with pytest.raises(MirrorError, match="cannot write to the mirror ") as caught:
        launch(other, plain=True, console=Console(file=io.StringIO(), width=400))
    assert caught.value.status == EXIT_REFUSED
    assert "remove `mirror` from the sweep file" in caught.value.text()
    assert not other.directory.exists()


def test_a_secret_in_an_error_is_not_told(here: SweepJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "correct-horse-battery")
    (tmp_path / "correct-horse-battery").write_text("")
    said = _refusal(job_of(tmp_path / "other"), f"file://{tmp_path}/correct-horse-battery/copy")
    assert "correct-horse-battery" not in said
    assert "[AWS_SECRET_ACCESS_KEY]" in said
