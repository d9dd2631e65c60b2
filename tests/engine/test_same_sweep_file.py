"""A sweep is told from another by what its file says, not by how a version of the tool represents it.

Oracle: the two texts, and a lock file whose digest is of no version at all.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.recorded_attacks import recorded_job
from unlearn_sweep.engine.driver.changed_code import SweepChangedError, says_the_same
from unlearn_sweep.engine.driver.sweep import Driver

TEXT = "name: sweep\nsearch: {trials: 2, sampler: tpe}\nmethods: {npo: {beta: 0.1}}\n"


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (TEXT, True),
        ("# a comment\n" + TEXT.replace("trials: 2", "trials: 9"), True),
        (TEXT.replace("0.1", "0.2"), False),
        (TEXT.replace("tpe", "random"), False),
        ("", False),
        ("[", False),
    ],
)
def test_layout_and_trials_do_not_count(tmp_path: Path, now: str, same: bool) -> None:
    (tmp_path / "spec.yaml").write_text(TEXT)
    assert says_the_same(tmp_path, now) is same


def test_a_folder_without_a_copy_of_its_file_says_nothing(tmp_path: Path) -> None:
    assert not says_the_same(tmp_path, TEXT)


def test_another_versions_digest_is_no_other_sweep_and_another_file_is(tmp_path: Path) -> None:
    job = recorded_job(tmp_path / "runs", "sweep", [], prune=False).model_copy(update={"mlflow": "off"})
    Driver(job.model_copy(update={"spec_text": TEXT})).open()
    lock = job.directory / "spec.lock.yaml"
    lock.write_text(yaml.safe_dump(yaml.safe_load(lock.read_text()) | {"digest": "of-another-version"}))
    with pytest.raises(SweepChangedError, match="the sweep file differs from the one it began with"):
        Driver(job.model_copy(update={"spec_text": TEXT.replace("0.1", "0.2")})).open()
    Driver(job.model_copy(update={"spec_text": TEXT})).open()
