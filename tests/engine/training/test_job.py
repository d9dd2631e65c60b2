"""The job: what it refuses, and that it survives the way through JSON. Oracle: the rules of its docstring."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unlearn_sweep.engine.training.job import TrainJob

SMALLEST: dict[str, Any] = {
    "start_model": "models/start",
    "output_dir": "models/out",
    "benchmark": {"name": "authors"},
    "method": {"name": "npo", "params": {"beta": 0.1}},
    "learning_rate": 1e-5,
}


def test_a_job_survives_json() -> None:
    job = TrainJob.from_json(SMALLEST | {"training": {"betas": [0.9, 0.95]}, "train_groups": ["retain"]})
    assert TrainJob.from_json(json.loads(job.model_dump_json())) == job
    assert (job.training.betas, job.training.epochs, job.train_groups) == ((0.9, 0.95), 5.0, ("retain",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"epochs": 5, "max_steps": 3}}, "max_steps beside epochs"),
        ({"training": {"zero_stage": 2}}, "belongs to the deepspeed backend"),
        ({"training": {"lora": {"rank": 0}}}, "greater than or equal to 1"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": "1e-5"}, "valid number"),
        ({"training": {"global_batch_size": 0}}, "greater than or equal to 1"),
        ({"training": {"zero_stage": 4}}, "0, 1, 2 or 3"),
        ({"training": {"betas": [0.9, 1.0]}}, "less than 1"),
        ({"train_groups": []}, "one or more views"),
        ({"train_groups": ["forget", "forget"]}, "each once"),
        ({"training": {"decay": "cosin"}}, "'linear', 'cosine' or 'constant'"),
        ({"learning_rat": 1e-5}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainJob.from_json(SMALLEST | change)
