"""A sweep over changed code is refused before anything is written or started; accepted, its trials carry the mark.

Oracle: the sweep's folder before and after, the words, and the edit that was made in a copy of the source.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.support.plugin_text import METHOD
from tests.support.recorded_attacks import recorded_job
from unlearn_sweep.engine.driver.changed_code import SweepChangedError, other_inputs, other_rows
from unlearn_sweep.engine.driver.sweep import Driver
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store import code
from unlearn_sweep.engine.store.records import UNRECORDED, TrialRecord
from unlearn_sweep.engine.store.snapshot import read_snapshot
from unlearn_sweep.plugins import plugin_file, use
from unlearn_sweep.sweeps.launch import launch
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.summary_text import answer
from unlearn_sweep.user_error import EXIT_OK, EXIT_REFUSED, UserError

ROOT = Path(__file__).parents[2]
SCORING = "evaluators/objectives/parts.py"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the source, which counts as this process's own."""
    root = tmp_path / code.OWN
    for folder in ("engine", "methods", "evaluators"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "package_root", lambda: root)
    forget()
    yield root
    forget()
    use(())


def forget() -> None:
    code._digests.cache_clear()
    code._read.cache_clear()


def edit(tree: Path, file: str, old: str, new: str) -> None:
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    forget()


def another_formula(tree: Path) -> None:
    edit(tree, SCORING, "0.0, 1.0)", "0.0, 2.0)")


def reworded(tree: Path) -> None:
    edit(tree, SCORING, "Objectives are computed from per-row tables", "Objectives come from tables of rows")


def the_job(tmp_path: Path, *, trials: int) -> SweepJob:
    job = recorded_job(tmp_path / "runs", "sweep", [], prune=False)
    search = job.search.model_copy(update={"trials": trials})
    return job.model_copy(update={"mlflow": "off", "search": search})


def record(number: int, made_by: str | None) -> TrialRecord:
    fields: dict[str, Any] = {"number": number, "key": f"k{number}", "method": "npo", "params": {}, "seed": 1}
    points = {"ue": 0.5 + number / 10, "ut": 0.5 - number / 10, "rob": None}
    return TrialRecord(**fields, **points, state="complete", started=1.0, finished=2.0, code=made_by)


def begun(tmp_path: Path) -> SweepJob:
    """A sweep of two trials with one settled."""
    job = the_job(tmp_path, trials=2)
    driver = Driver(job)
    driver.open()
    driver.write_record(record(0, driver.code_version))
    return job


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "driver.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def launched(job: SweepJob) -> tuple[int, str]:
    screen = io.StringIO()
    try:
        return launch(job, plain=True, console=Console(file=screen, width=400)), screen.getvalue()
    except UserError as error:
        return error.status, error.text()


def test_changed_code_is_refused_before_anything_is_written_or_started(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(tmp_path)
    before = contents(job.storage)
    another_formula(tree)
    monkeypatch.setattr(Driver, "run", lambda *_: pytest.fail("the sweep was started"))
    status, said = launched(job.model_copy(update={"mlflow": "auto"}))
    assert status == EXIT_REFUSED
    assert contents(job.storage) == before
    first, second = [line for line in said.splitlines() if str(job.directory) in line or "--accept-new-code" in line]
    assert "changed since its last start: evaluators.objectives.parts. Its settled trial is not comparable" in first
    assert "another name" in second
    assert "the version of its last start (unlearn-sweep " in second


@pytest.mark.parametrize("what", ["code", "file"])
def test_a_refused_start_changes_no_file(tmp_path: Path, tree: Path, what: str) -> None:
    """No copy of a plugin, no renamed record, no scratch folder cleared. Oracle: every byte of the storage."""
    job = begun(tmp_path)
    (job.directory / "trials" / "1.json").write_text('{"number": 1')
    (job.storage / "store" / "stages" / ".abcd.0").mkdir(parents=True)
    (job.storage / "store" / "stages" / ".abcd.0" / "left").write_text("by a killed process")
    (tmp_path / "mine.py").write_text(METHOD)
    job = job.model_copy(update={"plugins": [plugin_file(tmp_path / "mine.py")]})
    if what == "code":
        another_formula(tree)
    else:
        job = job.model_copy(update={"seed": job.seed + 1})
    before = contents(job.storage)
    with pytest.raises(SweepChangedError):
        Driver(job).open()
    assert contents(job.storage) == before
    if what == "code":
        Driver(job, accept_new_code=True).open()
        assert (job.directory / "trials" / "1.json.damaged").is_file()
        assert [path.name.partition("-")[0] for path in (job.directory / "plugins").iterdir()] == ["mine"]


def test_a_docstring_is_no_change(tmp_path: Path, tree: Path) -> None:
    job = begun(tmp_path)
    reworded(tree)
    Driver(job).open()
    assert len(lock(job)["starts"]) == 2
    assert len(lock(job)["code"]) == 1


def test_accepted_code_is_marked_and_asked_for_once(tmp_path: Path, tree: Path) -> None:
    job = begun(tmp_path)
    another_formula(tree)
    said: list[str] = []
    driver = Driver(job, accept_new_code=True)
    driver.open(said.append)
    assert "evaluators.objectives" in said[0]
    driver.write_record(record(1, driver.code_version))
    starts = lock(job)["starts"]
    assert [start["code"] for start in starts] == list(lock(job)["code"])
    assert starts[0]["code"] != starts[1]["code"]
    Driver(job.model_copy(update={"search": job.search.model_copy(update={"trials": 3})})).open()  # known by now
    report = load_report(job.directory)
    assert report.code_versions == {starts[0]["code"]: 1, starts[1]["code"]: 1}
    assert len(report.starts) == 3
    assert report.versions == lock(job)["starts"][2]["versions"]
    assert report.versions["torch"]
    assert "2 versions of the code" in " ".join(answer(report))


def test_one_code_is_no_mark(tmp_path: Path, tree: Path) -> None:
    job = begun(tmp_path)
    assert "versions of the code" not in " ".join(answer(load_report(job.directory)))


def test_trials_of_other_code_prune_nothing(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = begun(tmp_path)
    another_formula(tree)
    driver = Driver(job, accept_new_code=True)
    driver.open()
    driver.settled[1] = record(1, driver.code_version)

    class Broker:
        def visible_to(self, number: int) -> list[int]:
            return [0, 1]

    monkeypatch.setattr(driver, "broker", Broker())
    from unlearn_sweep.engine.study.broker import Proposal

    task = driver._task(Proposal(number=2, key="k", method="npo", params={}, seed=1))
    assert task.rivals == [(0.6, 0.4, 1.0)]


@pytest.mark.parametrize("change", [another_formula, reworded])
def test_a_finished_sweep_runs_nothing_and_is_not_refused(
    tmp_path: Path, tree: Path, change: Callable[[Path], None]
) -> None:
    begun(tmp_path)
    change(tree)
    done = the_job(tmp_path, trials=1)
    before = lock(done)["starts"]
    status, said = launched(done)
    assert status == EXIT_OK, said
    assert "nothing to do" in said
    assert lock(done)["starts"] == before


def test_a_sweep_without_trials_takes_any_code(tmp_path: Path, tree: Path) -> None:
    job = the_job(tmp_path, trials=2)
    Driver(job).open()
    another_formula(tree)
    Driver(job).open()
    assert len(lock(job)["code"]) == 2


def without_starts(job: SweepJob) -> None:
    path = job.directory / "spec.lock.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in lock(job).items() if key not in ("starts", "code")}))


def test_a_sweep_that_never_recorded_its_code_continues_and_is_marked(tmp_path: Path, tree: Path) -> None:
    job = begun(tmp_path)
    Driver(job).write_record(record(0, None))
    without_starts(job)
    said: list[str] = []
    driver = Driver(job)
    driver.open(said.append)
    assert "did not record its code" in said[0]
    driver.write_record(record(1, driver.code_version))
    report = load_report(job.directory)
    assert report.code_versions == {UNRECORDED: 1, driver.code_version: 1}
    assert "2 versions of the code" in " ".join(answer(report))
    another_formula(tree)
    more = job.model_copy(update={"search": job.search.model_copy(update={"trials": 3})})
    with pytest.raises(SweepChangedError, match=r"evaluators\.objectives"):
        Driver(more).open()


def test_trials_that_name_a_code_that_the_lock_file_lacks_are_refused(tmp_path: Path, tree: Path) -> None:
    job = begun(tmp_path)
    without_starts(job)
    with pytest.raises(SweepChangedError, match="the code that made its trials is not recorded"):
        Driver(job).open()
    assert read_snapshot(job.directory).starts.all == ()


def test_with_accepted_code_what_code_makes_may_differ() -> None:
    before = {"original": "o", "data": "d", "training": "t", "code": "1"}
    now = {**before, "original": "other", "code": "2"}
    assert other_inputs(before, now, original_given=False) == []
    assert other_inputs(before, now, original_given=True) == ["original"]
    assert other_inputs(before, {**now, "code": "1"}, original_given=False) == ["original"]
    assert other_inputs(before, {**now, "data": "other"}, original_given=False) == []
    assert other_inputs(before, {**before, "data": "other"}, original_given=False) == ["data"]
    assert "the rows differ" in (other_rows(before, {**now, "data": "other"}) or "")
    assert other_rows(before, now) is None
    assert other_inputs(before, {**now, "training": "other"}, original_given=False) == []
    assert other_inputs(before, {**before, "training": "other"}, original_given=False) == ["training"]


@pytest.mark.parametrize("text", ["", "name: sweep\n"])
def test_the_identity_of_the_first_run_is_kept_whatever_the_file_says(tmp_path: Path, tree: Path, text: str) -> None:
    """Study and trial keys depend on it; changed data could not be noticed without it."""
    job = begun(tmp_path).model_copy(update={"spec_text": text})
    first = Driver(job)
    first.open()
    first.identity = {"data": "d", "training": "t", "original": "o", "code": first.code_version}
    first.write_lock_file()
    another_formula(tree)
    again = Driver(job, accept_new_code=True)
    again.open()
    assert again.identity == first.identity == lock(job)["identity"]


def lock(job: SweepJob) -> dict[str, Any]:
    return yaml.safe_load((job.directory / "spec.lock.yaml").read_text())
