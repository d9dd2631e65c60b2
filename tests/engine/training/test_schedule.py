"""Steps and learning rates. Oracle: values worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.schedule import learning_rate, step_count


def job(**values: Any) -> TrainJob:
    smallest: dict[str, Any] = {
        "start_model": "a",
        "output_dir": "b",
        "benchmark": {"name": "c"},
        "method": {"name": "d"},
        "learning_rate": 1.0,
    }
    return TrainJob.from_json(smallest | {"training": {"warmup_share": 0.0} | values})


@pytest.mark.parametrize(
    ("values", "steps"),
    [({"epochs": 5}, 15), ({"epochs": 0.5}, 2), ({"epochs": 0.1}, 1), ({"epochs": 7 / 3}, 7), ({"max_steps": 4}, 4)],
)
def test_step_count(values: dict[str, Any], steps: int) -> None:
    assert step_count(job(**values), steps_per_epoch=3) == steps


def test_warm_up_then_linear() -> None:
    # 2 of 6 steps climb to the peak, 4 come down from it, and none is 0
    task = job(max_steps=6, warmup_share=0.3)
    rates = [learning_rate(task, step, 6) for step in range(6)]
    assert rates == pytest.approx([1 / 2, 1, 1, 3 / 4, 2 / 4, 1 / 4])


def test_cosine() -> None:
    # (1 + cos(pi/2)) / 2 = 1/2 half way, (1 + cos(pi/4)) / 2 a quarter of the way
    task = job(max_steps=4, decay="cosine")
    rates = [learning_rate(task, step, 4) for step in range(4)]
    assert rates == pytest.approx([1, 0.8535533906, 0.5, 0.1464466094])


def test_constant() -> None:
    assert [learning_rate(job(max_steps=2, decay="constant"), step, 2) for step in range(2)] == [1, 1]
