"""What a training says of itself while it runs. Oracles: the pace by hand, and a file that was torn."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearn_sweep.engine.store.training_progress import FILE, ProgressFile, TrainingProgress, read_progress


def test_the_time_left_is_at_the_pace_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken up at step 10 of 50: ten more steps in 20 s leave 30, which are 60 s."""
    clock = iter([1000.0, 1000.5, 1020.0])
    monkeypatch.setattr("unlearn_sweep.engine.store.training_progress.time.time", lambda: next(clock))
    file = ProgressFile(tmp_path)
    file.write(10, 50, ("train_cross_entropy", 2.5))
    first = read_progress(tmp_path)
    assert first is not None
    assert (first.step, first.left_s) == (10, None)
    file.write(11, 50, None)  # half a second later: not written
    assert read_progress(tmp_path) == first
    file.write(20, 50, ("train_cross_entropy", 1.25))
    found = read_progress(tmp_path)
    assert found is not None
    assert found.left_s == pytest.approx(60.0)
    assert found.text() == "step 20 of 50, train cross entropy 1.250"
    assert [place.name for place in tmp_path.iterdir()] == [FILE]


def test_what_is_torn_old_or_absent_says_nothing(tmp_path: Path) -> None:
    assert read_progress(tmp_path / "nowhere") is None
    TrainingProgress(step=1, steps=2, left_s=None, loss_name=None, loss=None, time=50.0).write(tmp_path)
    assert read_progress(tmp_path, since=49.0) is not None
    assert read_progress(tmp_path, since=51.0) is None
    (tmp_path / FILE).write_text('{"step": 1,')
    assert read_progress(tmp_path) is None
