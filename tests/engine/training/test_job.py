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
    "epochs": 5,
}


def test_a_job_survives_json() -> None:
    job = TrainJob.from_json(SMALLEST | {"betas": [0.9, 0.95], "train_groups": ["retain"]})
    assert TrainJob.from_json(json.loads(job.model_dump_json())) == job
    assert (job.betas, job.train_groups) == ((0.9, 0.95), ("retain",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_steps": 3}, "give epochs or max_steps"),
        ({"epochs": None}, "give epochs or max_steps"),
        ({"lora": {"rank": 0}}, "greater than or equal to 1"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": "1e-5"}, "valid number"),
        ({"global_batch_size": 0}, "greater than or equal to 1"),
        ({"zero_stage": 4}, "less than or equal to 3"),
        ({"betas": [0.9, 1.0]}, "below 1"),
        ({"train_groups": []}, "one or more views"),
        ({"train_groups": ["forget", "forget"]}, "each once"),
        ({"decay": "cosin"}, "'linear', 'cosine' or 'constant'"),
        ({"learning_rat": 1e-5}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainJob.from_json(SMALLEST | change)
