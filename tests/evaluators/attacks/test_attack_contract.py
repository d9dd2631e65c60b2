"""What every attack of the table owes its caller: everything left as found, and the same states again."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.evaluators.attacks.thinking_world import suited
from unlearn_sweep.engine.contracts import attack_checks as checks
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS, build

if TYPE_CHECKING:
    pass

TRAINING = {"steps": [1, 3], "learning_rate": 1e-3}
CASES: dict[str, list[Any]] = {
    "prefill": [{"tokens": [1, 2]}, {"text": "Sure, the answer is"}],
    "few_shot": [{"shots": [1, 3]}],
    "in_context": [{"shots": [1, 3]}],
    "paraphrase": [{"wordings": [1, 2]}],
    "think": [{"tokens": [2, 8]}],
    "sample": [{"answers": [1, 2], "drawn": 3}],
    "rwku_prompts": [{}, {"aggregate": "worst", "kinds": ["role_play", "in_context"]}],
    "quantize": [
        {"bits": [8, 4]},
        {"bits": 4, "granularity": "group", "group_size": 20, "include_lm_head": True},
        {"bits": [8, 4], "scheme": "gptq", "samples": 8},
    ],
    "relearn": [TRAINING, {**TRAINING, "lora_rank": 2}, {**TRAINING, "data": "related"}],
    "finetune": [{**TRAINING, "data": "TASK_FILE", "heldout_rows": 4, "batch_size": 4}],
    "logit_lens": [{}, {"layers": [1]}],
    "prune": [{"forget_percent": [0.0, 5.0], "utility_percent": 5.0, "samples": 6}],
    "abliterate": [{}, {"reference": "original", "where": "weights", "layers": [2]}],
    "soft_prompt": [{"iterations": [0, 2], "soft_tokens": 3}],
    "gcg": [{"steps": [0, 2], "suffix_tokens": 4, "search_width": 8, "prompts": 2}],
    "enhanced_gcg": [{"steps": [0, 2], "text_tokens": 4, "min_tokens": 2, "search_width": 8, "prompts": 2}],
    "chain": [
        [{"quantize": {"bits": 4}}, {"relearn": TRAINING}],
        [{"few_shot": {"shots": 1}}, {"prefill": {"tokens": 1}}],
        [{"abliterate": {}}, {"relearn": TRAINING}, {"soft_prompt": {"iterations": 1}}, {"prefill": {"tokens": 1}}],
    ],
}
WEIGHTS_ATTACKS = ("quantize", "relearn", "finetune", "logit_lens", "prune", "abliterate", "soft_prompt")
FLAT = [(name, params) for name, cases in CASES.items() for params in cases]


def test_every_attack_of_the_table_is_tested() -> None:
    assert set(CASES) == set(ATTACKS)


@pytest.fixture
def task_file(tmp_path: Path) -> str:
    path = tmp_path / "task.jsonl"
    rows = [{"question": f"What is {i} plus 1?", "answer": f"It is {i + 1}."} for i in range(12)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def fill(params: Any, task_file: str) -> Any:
    return json.loads(json.dumps(params).replace("TASK_FILE", task_file))


@pytest.fixture(params=["as loaded", "mid-training"])
def attacked_target(target: Target, request: pytest.FixtureRequest) -> Target:
    """The toy target once fresh, once frozen in part, in training mode and with gradients lying about."""
    model = copy.deepcopy(target.model)
    if request.param == "mid-training":
        model.train()
        for i, parameter in enumerate(model.parameters()):
            parameter.grad = torch.full_like(parameter, 0.5) if i % 2 else None
            parameter.requires_grad_(i % 3 != 0)
    return replace(target, model=model)


@pytest.mark.parametrize(("name", "params"), FLAT)
def test_everything_is_left_as_found(attacked_target: Target, name: str, params: Any, task_file: str) -> None:
    checks.everything_is_left_as_found(suited(attacked_target, name), lambda: build(name, fill(params, task_file)))


@pytest.mark.parametrize(("name", "params"), FLAT)
def test_closing_early_frees_the_copy_and_leaves_everything_as_found(
    target: Target, name: str, params: Any, task_file: str
) -> None:
    checks.closing_early_leaves_everything_as_found(suited(target, name), lambda: build(name, fill(params, task_file)))


@pytest.mark.parametrize(("name", "params"), FLAT)
def test_the_same_seed_gives_the_same_states_whatever_the_global_state(
    target: Target, name: str, params: Any, task_file: str
) -> None:
    checks.the_same_seed_gives_the_same_states(suited(target, name), lambda: build(name, fill(params, task_file)))


@pytest.mark.parametrize(("name", "params"), FLAT)
def test_the_last_state_outlives_the_attack(target: Target, name: str, params: Any, task_file: str) -> None:
    private = name in WEIGHTS_ATTACKS
    checks.the_last_state_outlives_the_attack(
        suited(target, name), lambda: build(name, fill(params, task_file)), private=private
    )


@pytest.mark.parametrize(("name", "params"), FLAT)
def test_works_under_no_grad_and_inference_mode(target: Target, name: str, params: Any, task_file: str) -> None:
    checks.works_under_no_grad_and_inference_mode(suited(target, name), lambda: build(name, fill(params, task_file)))
