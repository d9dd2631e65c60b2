"""At strength 0 an attack is no attack: every metric of every scored row is that of the target, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.evaluators.attacks.thinking_world import suited
from unlearn_sweep.engine.contracts import attack_checks as checks
from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll, encode_rows
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS, build

RATE_0 = {"steps": 3, "learning_rate": 0.0, "batch_size": 4}
IDENTITIES: dict[str, list[Any]] = {
    "prefill": [{"tokens": 0}],
    "few_shot": [{"shots": 0}],
    "in_context": [{"shots": 0}],
    "think": [{"tokens": 0}],
    "sample": [{"answers": 1, "temperature": 1e-4}],
    "quantize": [{"bits": 16}],
    "relearn": [{"steps": 0}, RATE_0, {**RATE_0, "lora_rank": 2}, {**RATE_0, "data": "related"}],
    "finetune": [{"data": "TASK", "heldout_rows": 2, "steps": 0}, {**RATE_0, "data": "TASK", "heldout_rows": 2}],
    "logit_lens": [{"layers": [2]}],
    "prune": [{"forget_percent": [0.0], "samples": 2}],
    "abliterate": [{"reference": "original"}, {"reference": "original", "where": "weights"}],
    "soft_prompt": [{"iterations": 0}],
    "gcg": [{"steps": 0, "suffix_tokens": 4, "prompts": 2}],
    "enhanced_gcg": [{"steps": 0, "text_tokens": 4, "min_tokens": 2, "prompts": 2}],
    "chain": [[{"quantize": {"bits": 16}}, {"relearn": RATE_0}, {"prefill": {"tokens": 0}}]],
}
WITHOUT = {"paraphrase", "rwku_prompts"}
"""They have no strength: a question is asked in other words, or it is not."""
FLAT = [(name, params) for name, cases in IDENTITIES.items() for params in cases]


def test_every_attack_has_an_identity_or_no_strength() -> None:
    assert set(IDENTITIES) | WITHOUT == set(ATTACKS)


@pytest.mark.parametrize(("name", "params"), FLAT)
def test_no_strength_changes_no_metric_of_any_row(target: Target, name: str, params: Any, tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    lines = [json.dumps({"question": f"What is {i} plus 1?", "answer": f"It is {i + 1}."}) for i in range(9)]
    path.write_text("\n".join(lines), encoding="utf-8")
    filled = json.loads(json.dumps(params).replace("TASK", str(path)))
    checks.no_strength_changes_no_metric_of_any_row(suited(target, name), lambda: build(name, filled))


def test_relearning_the_original_loses_nothing_it_trains_on(target: Target) -> None:
    assert target.original is not None
    original = replace(target, model=target.original())
    examples = encode_rows(target.tokenizer, target.benchmark.train["forget"], target.benchmark.template)
    start, end = (
        answer_nll(state.model, examples)
        for state in build("relearn", {"steps": [0, 8], "learning_rate": 2e-4}).run(original)
    )
    assert sum(end) <= sum(start) + 1e-3 * len(examples)
