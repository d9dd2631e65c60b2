"""A mirror behind a real file:// address. Oracle: the trees of files on both sides, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.events import EventLog
from engine.job import SweepJob
from engine.mirror import MirrorError, side_by_side
from engine.mirror_driver import DriverMark, mark_driver, place_of
from engine.mirror_pull import fetch_model
from engine.mirror_thread import mirrored
from engine.prepare import model_stages
from engine.store import StageStore
from engine.sweep import SweepBusyError
from tests.faults.recorded_sweep import TRIALS, job_of, run
from tests.support.mirrors import finished_sweep, open_mirror, pulled, push, tree
from tests.support.sweep_folder import trial, write_trial

FIRST, BEATEN, THIRD = 0, 2, 3
"""Numbers of the recorded trials. The study asked for the first one twice, and settled the second asking itself."""
SAME = ("key", "ue", "ut", "rob", "stage_keys")
OWN = ("spec.yaml", "spec.lock.yaml", "study.journal", "events.jsonl", "progress.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep, made once."""
    folder = tmp_path_factory.mktemp("made")
    finished_sweep(folder / "runs")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> SweepJob:
    """A copy of it."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    return job_of(tmp_path / "runs")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"file://{tmp_path}/copy"


def front(job: SweepJob) -> set[str]:
    """Models of the first and the third trial, which are on the front (tests/faults/recorded_sweep.py)."""
    return {record(job, number)["stage_keys"]["unlearn"] for number in (FIRST, THIRD)}


def record(job: SweepJob, number: int) -> dict[str, Any]:
    return json.loads((job.directory / "trials" / f"{number}.json").read_text())


def test_the_mirror_has_the_sweep_its_stages_and_the_models_worth_keeping(
    here: SweepJob, uri: str, tmp_path: Path
) -> None:
    push(here, uri)
    copy, original = tree(tmp_path / "copy"), tree(here.storage)
    records = {f"sweep/trials/{number}.json" for number in (FIRST, BEATEN, THIRD)}
    assert {f"sweep/{name}" for name in OWN} | records == {name for name in copy if name.startswith("sweep/")}
    stages = {name for name in original if name.startswith("store/stages/")}
    assert {name for name in copy if name.startswith("store/stages/")} == stages
    wanted = {request.key for request in model_stages(here)} | front(here)
    models = {name for name in copy if name.startswith("store/models/") and not name.endswith("/.complete")}
    assert {name.split("/")[2] for name in models} == wanted
    assert len(wanted) == 5
    marks = {name for name in copy if name.endswith("/.complete")}
    assert {name: data for name, data in copy.items() if name not in marks} == {
        name: original[name] for name in copy if name not in marks
    }


def test_an_empty_storage_gets_the_same_trees_and_has_nothing_left_to_do(
    here: SweepJob, uri: str, tmp_path: Path
) -> None:
    push(here, uri)
    there, said = pulled(tmp_path / "other", uri)
    assert tree(there.directory) == {
        name: data for name, data in tree(here.directory).items() if name.partition("/")[0] in (*OWN, "trials")
    }
    assert tree(there.storage / "store/stages") == tree(here.storage / "store/stages")
    kept = {request.key for request in model_stages(here)}
    assert {path.name for path in (there.storage / "store/models").iterdir()} == kept
    for key in kept:
        assert tree(there.storage / "store/models" / key) == tree(here.storage / "store/models" / key)
    (line,) = said
    assert "fetching the sweep with 3 settled trials, " in line
    assert " finished stages, 3 models (" in line
    before = tree(there.directory / "trials")
    run(str(there.storage))
    assert tree(there.directory / "trials") == before
    again = [event for event in EventLog(there.directory / "events.jsonl").read() if event.event == "stage_finished"]
    assert len(again) == sum(
        event.event == "stage_finished" for event in EventLog(here.directory / "events.jsonl").read()
    )


def test_the_model_of_a_front_member_is_fetched_when_it_is_asked_for(here: SweepJob, uri: str, tmp_path: Path) -> None:
    push(here, uri)
    there, _ = pulled(tmp_path / "other", uri)
    store = StageStore(there.storage)
    for key in front(here):
        assert not store.model_folder(key).exists()
        size = fetch_model(open_mirror(uri), store, key)
        assert tree(store.model_folder(key)) == tree(StageStore(here.storage).model_folder(key))
        assert size == sum(len(data) for data in tree(store.model_folder(key)).values())
    assert fetch_model(open_mirror(uri), store, "0" * 16) == 0


def test_what_is_there_is_not_uploaded_again_and_what_changed_is(here: SweepJob, uri: str, tmp_path: Path) -> None:
    push(here, uri)
    before = {path: path.stat().st_ino for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    path = here.directory / "trials" / f"{BEATEN}.json"
    path.write_text(path.read_text() + "\n")
    EventLog(here.directory / "events.jsonl").append("note", reason="one more")
    pusher = push(here, uri)
    after = {path: path.stat().st_ino for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    changed = {str(path.relative_to(tmp_path / "copy")) for path in after if after[path] != before.get(path)}
    assert changed == {f"sweep/{name}" for name in OWN} | {f"sweep/trials/{BEATEN}.json"}
    assert str(pusher.left()) == "nothing"


@pytest.mark.parametrize("torn", [b'{"half', b'{"half\n{"line": 1'])
def test_only_whole_lines_of_a_growing_file_are_copied(here: SweepJob, uri: str, tmp_path: Path, torn: bytes) -> None:
    whole = (here.directory / "study.journal").read_bytes()
    with (here.directory / "study.journal").open("ab") as file:
        file.write(torn)
    push(here, uri)
    copied = (tmp_path / "copy/sweep/study.journal").read_bytes()
    assert copied == whole + torn[: torn.rfind(b"\n") + 1]


def test_a_model_that_left_the_front_goes_unless_another_sweep_has_it(here: SweepJob, uri: str, tmp_path: Path) -> None:
    push(here, uri)
    models = tmp_path / "copy/store/models"
    first, third = (record(here, number)["stage_keys"]["unlearn"] for number in (FIRST, THIRD))
    write_trial(tmp_path / "copy/other", trial(0, stage_keys={"unlearn": third}))
    write_trial(here.directory, trial(7, ue=1.0, ut=1.0, rob=1.0, stage_keys={"unlearn": "f" * 16}))
    push(here, uri)
    assert not (models / first).exists()
    assert (models / third).exists()
    (tmp_path / "copy/other/trials/0.json").write_text("{")
    broken = trial(8, ue=1.0, ut=1.0, rob=1.0, stage_keys={"unlearn": "e" * 16})
    write_trial(here.directory, broken)
    push(here, uri)
    assert (models / third).exists(), "a record that cannot be read might be that of a front member"
    shutil.rmtree(tmp_path / "copy/other")
    push(here, uri)
    assert not (models / third).exists()
    assert {path.name for path in models.iterdir()} == {request.key for request in model_stages(here)}


# --- what is not whole ------------------------------------------------------------------------------------------------


def _without_stage_file(copy: Path, stage: str, model: str) -> None:
    (copy / "store/stages" / stage / "stage.json").unlink()


def _without_mark(copy: Path, stage: str, model: str) -> None:
    (copy / "store/models" / model / ".complete").unlink()


def _without_rows(copy: Path, stage: str, model: str) -> None:
    (copy / "store/stages" / stage / "rows.parquet").unlink()


def _torn_stage_file(copy: Path, stage: str, model: str) -> None:
    path = copy / "store/stages" / stage / "stage.json"
    path.write_bytes(path.read_bytes()[:-20])


def _short_weights(copy: Path, stage: str, model: str) -> None:
    path = copy / "store/models" / model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _no_weights(copy: Path, stage: str, model: str) -> None:
    (copy / "store/models" / model / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "stage_comes", "model_comes"),
    [
        (_without_stage_file, False, True),
        (_without_rows, False, True),
        (_torn_stage_file, False, True),
        (_without_mark, True, False),
        (_short_weights, True, False),
        (_no_weights, True, False),
    ],
)
def test_a_half_copied_stage_or_model_is_never_used_and_is_completed(
    here: SweepJob,
    uri: str,
    tmp_path: Path,
    spoil: Callable[[Path, str, str], None],
    stage_comes: bool,
    model_comes: bool,
) -> None:
    push(here, uri)
    stage, model = record(here, FIRST)["stage_keys"]["evaluate"], model_stages(here)[1].key
    spoil(tmp_path / "copy", stage, model)
    there, said = pulled(tmp_path / "other", uri)
    store = StageStore(there.storage)
    assert store.stage_folder(stage).exists() is stage_comes
    assert store.model_folder(model).exists() is model_comes
    assert store.find(model_stages(here)[0]) is not None, "the others come all the same"
    remains = [path for path in store.root.rglob(".*") if path.is_dir()]
    assert remains == []
    finished = StageStore(here.storage)
    with mirrored(there.model_copy(update={"mirror": uri}), said.append):
        for key in (stage, model):  # as if it were computed again
            shutil.copytree(finished.stage_folder(key), store.stage_folder(key), dirs_exist_ok=True)
        shutil.copytree(finished.model_folder(model), store.model_folder(model), dirs_exist_ok=True)
    last, _ = pulled(tmp_path / "third", uri)
    assert tree(last.storage / "store/stages") == tree(here.storage / "store/stages")
    assert tree(last.storage / "store/models" / model) == tree(here.storage / "store/models" / model)


def test_a_record_whose_trial_the_study_does_not_know_is_left_out(here: SweepJob, uri: str, tmp_path: Path) -> None:
    """A kill between the upload of a record and that of the journal. It is asked again, with the stages it has."""
    push(here, uri)
    journal = tmp_path / "copy/sweep/study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    creations = [place for place, line in enumerate(lines) if line.startswith('{"op_code":4,')]
    journal.write_text("".join(lines[: creations[THIRD]]))
    there, _ = pulled(tmp_path / "other", uri)
    assert sorted(path.name for path in (there.directory / "trials").iterdir()) == ["0.json", "2.json"]
    known = {event.stage_key for event in EventLog(there.directory / "events.jsonl").read()}
    run(str(there.storage))
    again, before = record(there, THIRD), record(here, THIRD)
    assert [again[name] for name in SAME] == [before[name] for name in SAME]
    assert set(again["stage_keys"].values()) <= known
    assert set(again["reused_stages"]) == set(again["stage_keys"]) - {"unlearn"}, (
        "its model was not in the mirror's keep"
    )


# --- who may write ----------------------------------------------------------------------------------------------------


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
    assert "trial 2 in the mirror is another one than here" in _refusal(here, uri)
    assert tree(tmp_path / "copy") == before


def test_another_sweep_of_the_same_name_is_refused(here: SweepJob, uri: str, tmp_path: Path) -> None:
    push(here, uri)
    before = tree(tmp_path / "copy")
    other = job_of(tmp_path / "other").model_copy(update={"seed": 99})
    assert "has a sweep sweep over something else" in _refusal(other, uri)
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
        assert "sweep/driver.json is too old in three minutes, or remove it there" in said
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
    assert "The sweep goes on without it" in said[0]
    assert f"The mirror {uri} does not have the whole sweep (" in said[1]
    assert "3 records, 5 models" in said[1]
    assert "run the same command again to complete it" in said[1]
    (tmp_path / "copy").unlink()
    with mirrored(here.model_copy(update={"mirror": uri}), said.append):
        pass
    assert len(said) == 2, said
    assert len(tree(tmp_path / "copy/sweep/trials")) == len(TRIALS)


HANG = """
import pathlib, sys, time
from engine import mirror_thread
from tests.faults.recorded_sweep import job_of
mirror_thread.CLOSE_S = 1.0
job = job_of(pathlib.Path(sys.argv[1])).model_copy(update={"mirror": sys.argv[2]})
with mirror_thread.mirrored(job, print):
    pass
"""


def test_a_mirror_that_hangs_is_waited_for_no_longer_than_said(here: SweepJob, uri: str, tmp_path: Path) -> None:
    """The scratch name of a file is a pipe that nobody reads: whoever opens it to write waits for ever."""
    (tmp_path / "copy/sweep").mkdir(parents=True)
    place = place_of(StageStore(here.storage))
    os.mkfifo(tmp_path / "copy/sweep" / f".spec.lock.yaml.{place}.part")
    command = [sys.executable, "-c", HANG, str(here.storage), uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "does not have the whole sweep (it did not finish in 1 s)" in done.stdout
    assert "3 records, 5 models" in done.stdout


def test_a_hand_that_hangs_does_not_keep_the_process() -> None:
    code = (
        "import threading, time\nfrom engine.mirror import side_by_side\n"
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
    other = job_of(tmp_path / "other")
    assert "cannot be written: " in _refusal(other, f"file://{tmp_path}/file/copy")
    assert not other.directory.exists()


def test_a_secret_in_an_error_is_not_told(here: SweepJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "correct-horse-battery")
    (tmp_path / "correct-horse-battery").write_text("")
    said = _refusal(job_of(tmp_path / "other"), f"file://{tmp_path}/correct-horse-battery/copy")
    assert "correct-horse-battery" not in said
    assert "[AWS_SECRET_ACCESS_KEY]" in said
