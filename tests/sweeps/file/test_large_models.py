"""Settings of models larger than a device. Oracle: the rules by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeps.file.test_spec import messages
from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import resolve


def test_attacks_cannot_train_on_workers_that_there_are_not() -> None:
    (found,) = messages(evaluation="evaluation: {attack_training: workers}")
    assert "evaluation.attack_training" in found
    assert "no training workers" in found
    assert "training: {workers: 1}" in found


def test_where_attacks_train_reaches_the_job(tmp_path: Path) -> None:
    parts = {"training": "training: {workers: 1}", "evaluation": "evaluation: {attack_training: workers}"}
    assert resolve(parse_spec(sweep_text(**parts), folder=tmp_path)).attack_training == "workers"
    assert resolve(parse_spec(sweep_text(), folder=tmp_path)).attack_training == "auto"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("offload: optimizer", "the backend is torch"),
        ("backend: deepspeed, workers: 2, offload: all", "write zero_stage: 3"),
        ("backend: deepspeed, workers: 2, zero_stage: 0, offload: optimizer", "write zero_stage: 1"),
    ],
)
def test_offloading_without_its_stage_is_refused(settings: str, words: str) -> None:
    (found,) = messages(training=f"training: {{{settings}}}")
    assert "training.offload" in found
    assert words in found


def test_offloading_with_its_stage_is_taken(tmp_path: Path) -> None:
    text = "training: {backend: deepspeed, workers: 2, zero_stage: 3, offload: all}"
    assert resolve(parse_spec(sweep_text(training=text), folder=tmp_path)).training.offload == "all"
