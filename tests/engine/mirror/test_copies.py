"""A mirror behind a real file:// address. Oracle: the trees of files on both sides, byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.recorded_sweep import run
from tests.support.mirrors import BEATEN, FIRST, THIRD, open_mirror, pulled, push, record, tree
from tests.support.sweep_folder import trial, write_trial
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.mirror.background import mirrored
from unlearn_sweep.engine.mirror.pull import fetch_model
from unlearn_sweep.engine.mirror.push import Pusher
from unlearn_sweep.engine.stages.prepare import model_stages
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.stages import StageStore

SAME = ("key", "ue", "ut", "rob", "stage_keys")
OWN = ("spec.yaml", "spec.lock.yaml", "study.journal", "events.jsonl", "progress.json")


def front(job: SweepJob) -> set[str]:
    """Models of the first and the third trial, which are on the front (tests/faults/recorded_sweep.py)."""
    return {record(job, number)["stage_keys"]["unlearn"] for number in (FIRST, THIRD)}


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
    run(str(there.storage), mirror=uri)
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


def test_what_the_mirror_lost_counts_as_not_copied(here: SweepJob, uri: str, tmp_path: Path) -> None:
    """Oracle: an upload into an empty mirror, which has everything to do."""
    pusher = push(here, uri)
    empty = tmp_path / "empty"
    empty.mkdir()
    fresh = Pusher(open_mirror(f"file://{empty}"), StageStore(here.storage), here.directory, {})
    fresh.look()
    (tmp_path / "copy/sweep/trials" / f"{BEATEN}.json").unlink()
    pusher.forget_lost()
    assert str(pusher.left()) == "1 record"
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "copy").write_text("no folder any more")
    pusher.forget_lost()
    ours, all_of_it = pusher.left(), fresh.left()
    assert (ours.stages, ours.trials, ours.models) == (all_of_it.stages, all_of_it.trials, all_of_it.models)
    assert ours.trials == 3


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
    assert set(again["reused_stages"]) == set(again["stage_keys"]), "it settles from what was measured"
