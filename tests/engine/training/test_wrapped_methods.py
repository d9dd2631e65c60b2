"""Every method in every wrapper it takes: it trains, and micro-batches are the whole batch. Oracle: the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.engine.training.test_backends import furthest, weights
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.methods.catalog import METHODS, WRAPPERS, card

JobMaker = Callable[..., dict[str, Any]]
PARAMS: dict[str, dict[str, Any]] = {
    "gao": {"gao_paraphrases": 2, "gao_agree": 2},  # the made-up rows have two other wordings
    "re_learn": {"answers": "refusals"},  # the made-up rows have no written vague answers
    "rab": {"steering": 50.0},
    "sam": {"sam_rho": 0.05},
    "tar": {"tar_steps": 2, "tar_every": 1, "tar_learning_rate": 1e-3},
    "lat": {"lat_steps": 2},
}


def fits(method: str, wrapper: str) -> bool:
    try:
        card(f"{method}+{wrapper}")
    except ValueError:
        return False
    return True


PAIRS = [(method, wrapper) for method in METHODS for wrapper in WRAPPERS if fits(method, wrapper)]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "wrapper"), PAIRS, ids=[f"{method}+{wrapper}" for method, wrapper in PAIRS])
def test_a_wrapped_method_trains_and_its_micro_batches_add_up(
    make_job: JobMaker, benchmark: Benchmark, method: str, wrapper: str
) -> None:
    name, params = f"{method}+{wrapper}", PARAMS.get(method, {}) | PARAMS.get(wrapper, {})
    whole = make_job(name, params, max_steps=2)
    split = make_job(name, params, max_steps=2, micro_batch_size=2)
    outcomes = [run_worker(job, benchmark=benchmark) for job in (whole, split)]
    assert furthest(weights(whole), load_file(Path(whole["start_model"]) / "model.safetensors")) > 1e-6
    assert furthest(weights(whole), weights(split)) < 1e-6
    assert outcomes[0]["terms"] == pytest.approx(outcomes[1]["terms"], rel=1e-3, abs=1e-5)
    assert outcomes[0]["stopped_early"] is None
