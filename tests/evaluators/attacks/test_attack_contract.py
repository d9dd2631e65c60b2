"""What every attack of the table owes its caller: everything left as found, and the same states again."""

from __future__ import annotations

import copy
import gc
import json
import random
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from unlearn_sweep.evaluators.attacks.attack import Attacked, Target
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS, build
from unlearn_sweep.evaluators.rows import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TRAINING = {"steps": [1, 3], "learning_rate": 1e-3}
CASES: dict[str, list[Any]] = {
    "prefill": [{"tokens": [1, 2]}, {"text": "Sure, the answer is"}],
    "few_shot": [{"shots": [1, 3]}],
    "in_context": [{"shots": [1, 3]}],
    "paraphrase": [{"wordings": [1, 2]}],
    "rwku_prompts": [{}, {"aggregate": "worst", "kinds": ["role_play", "in_context"]}],
    "quantize": [{"bits": [8, 4]}, {"bits": 4, "granularity": "group", "group_size": 20, "include_lm_head": True}],
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


def found(target: Target) -> dict[str, Any]:
    """Everything an attack may not change, as comparable values."""
    model = target.model
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "gradients": {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "trainable": {n: p.requires_grad for n, p in model.named_parameters()},
        "modes": [module.training for module in model.modules()],
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()),
        "config": model.config.to_json_string(),
        "tokenizer": cast("PreTrainedTokenizerFast", target.tokenizer).backend_tokenizer.to_str(),
        "tokenizer size": len(target.tokenizer),
        "torch": torch.get_rng_state(),
        "numpy": [np.asarray(part) for part in cast("tuple[Any, ...]", np.random.get_state())[1:]],
        "python": random.getstate(),
        "gradient mode": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
    }


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


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
    before = found(attacked_target)
    for state in build(name, fill(params, task_file)).run(attacked_target):
        use(attacked_target, state)
        after = found(attacked_target)
        assert [key for key in before if not equal(before[key], after[key])] == []
    after = found(attacked_target)
    assert [key for key in before if not equal(before[key], after[key])] == []


@pytest.mark.parametrize(("name", "params"), FLAT)
def test_closing_early_frees_the_copy_and_leaves_everything_as_found(
    target: Target, name: str, params: Any, task_file: str
) -> None:
    before = found(target)
    states = build(name, fill(params, task_file)).run(target)
    model = next(states).model
    copied = None if model is target.model else weakref.ref(model)
    del model
    states.close()  # type: ignore[attr-defined]
    gc.collect()
    assert copied is None or copied() is None
    after = found(target)
    assert [key for key in before if not equal(before[key], after[key])] == []


@pytest.mark.parametrize(("name", "params"), FLAT)
def test_the_same_seed_gives_the_same_states_whatever_the_global_state(
    target: Target, name: str, params: Any, task_file: str
) -> None:
    def outputs(seed: int) -> list[tuple[float, str, Any, Tensor]]:
        torch.manual_seed(seed)
        random.seed(seed)
        attack = build(name, fill(params, task_file))
        return [(s.strength, s.unit, s.notes, use(target, s)) for s in attack.run(target)]

    first, second = outputs(1), outputs(2)
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert a[:3] == b[:3]
        assert torch.equal(a[3], b[3])


@pytest.mark.parametrize(("name", "params"), FLAT)
def test_the_last_state_outlives_the_attack(target: Target, name: str, params: Any, task_file: str) -> None:
    *_, last = build(name, fill(params, task_file)).run(target)
    gc.collect()
    assert torch.isfinite(use(target, last)).all()
    if name in WEIGHTS_ATTACKS:
        assert last.model is not target.model
        assert {p.data_ptr() for p in last.model.parameters()}.isdisjoint(
            p.data_ptr() for p in target.model.parameters()
        )


@pytest.mark.parametrize(("name", "params"), FLAT)
def test_works_under_no_grad_and_inference_mode(target: Target, name: str, params: Any, task_file: str) -> None:
    with torch.no_grad():
        quiet = [use(target, state) for state in build(name, fill(params, task_file)).run(target)]
    with torch.inference_mode():
        inferred = [use(target, state).clone() for state in build(name, fill(params, task_file)).run(target)]
    assert all(torch.equal(a, b) for a, b in zip(quiet, inferred, strict=True))


def use(target: Target, state: Attacked) -> Tensor:
    """Question the state as a caller would: edited prompts of some forget rows through its model in eval mode."""
    model = copy.deepcopy(state.model).eval()
    return torch.cat([model(torch.tensor([ids])).logits.detach()[0, -1] for ids in prompts(target, state)])


def prompts(target: Target, state: Attacked) -> Iterator[tuple[int, ...]]:
    rows = [
        r
        for r in target.benchmark.evaluation["forget"]
        if state.scored_groups is None or r.group_id in state.scored_groups
    ]
    for row in rows[:4]:
        example = encode(target.tokenizer, row.row_id, row.question, row.answer, target.benchmark.template)
        edited = state.prompt_edit(example) if state.prompt_edit else example
        if edited is not None:
            yield edited.prompt_ids
