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


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{resources: {GPU: 2}, workers: 4}", ("needs a GPU of its own", "4 workers and 2 GPU", "GPU: 4")),
        ("{resources: {GPU: 0.25}, workers: 2}", ("needs a GPU of its own", "at most 1")),
        ("{resources: {CPU: 2}, workers: 3}", ("needs a CPU of its own", "CPU: 3")),
        ("{workers: 0}", ("evaluation.workers",)),
        ("{workers: all}", ("evaluation.workers",)),
    ],
)
def test_measuring_workers_have_devices_of_their_own(section: str, words: tuple[str, ...]) -> None:
    said = "\n".join(messages(evaluation=f"evaluation: {section}"))
    assert "evaluation.workers" in said
    assert [word for word in words if word not in said] == []


def test_measuring_workers_change_no_identity(tmp_path: Path) -> None:
    one = resolve(parse_spec(sweep_text(), folder=tmp_path))
    two = resolve(parse_spec(sweep_text(evaluation="evaluation: {workers: 2}"), folder=tmp_path))
    assert two.evaluation_workers == 2
    assert two.measuring == {"CPU": 2.0}
    assert (two.threads, two.measuring_threads) == (2, 1)
    assert two.digest() == one.digest()
