"""Templates that write a date: every prompt has the configured one, whoever asks. Oracle: the date itself, in the text.

Granite's template writes today's by itself, Llama 3's is given one; neither may ever be the day of the run.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.evaluators.benchmarks.test_conversations import TALKS, load
from tests.evaluators.tokenizer_families import FAMILIES
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY, PromptSettings, in_format
from unlearn_sweep.evaluators.rows import encode

DATED = {"granite": "%B %d, %Y", "llama3": "%d %b %Y"}
DAY = datetime(2025, 4, 10)
CHAT = {"format": "chat", "date": "10 Apr 2025"}
ON_PROMPTS: dict[str, dict[str, Any]] = {
    "prefill": {"tokens": [1]},
    "few_shot": {"shots": [2]},
    "in_context": {"shots": [2]},
    "paraphrase": {"wordings": [1]},
    "rwku_prompts": {},
    "soft_prompt": {"iterations": [1], "soft_tokens": 2},
    "gcg": {"steps": [1], "suffix_tokens": 3, "search_width": 4, "prompts": 1},
    "enhanced_gcg": {"steps": [1], "text_tokens": 3, "min_tokens": 2, "search_width": 4, "prompts": 1},
}


def dated(text: str, form: str) -> bool:
    """Whether the configured date is in a prompt once, and today's is not."""
    return text.count(DAY.strftime(form)) == 1 and datetime.now().strftime(form) not in text


@pytest.mark.parametrize("family", DATED)
@pytest.mark.parametrize("attack", ON_PROMPTS)
def test_an_attacked_prompt_has_the_configured_date(target: Target, attack: str, family: str) -> None:
    tokenizer = next(known for known in FAMILIES if known.name == family).make()
    model = target.model
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:  # type: ignore[union-attr]
        model = copy.deepcopy(model)
        model.resize_token_embeddings(len(tokenizer))
    benchmark = in_format(target.benchmark, PromptSettings.model_validate(CHAT))
    asked = replace(target, tokenizer=tokenizer, benchmark=benchmark, model=model, original=lambda: model)
    seen = 0
    for state in build(attack, ON_PROMPTS[attack]).run(asked):
        for row in benchmark.evaluation["forget"][:3]:
            example = encode(tokenizer, row.row_id, row.question, row.answer, benchmark.template)
            edited = example if state.prompt_edit is None else state.prompt_edit(example)
            if edited is not None:
                assert dated(str(tokenizer.decode(list(edited.prompt_ids))), DATED[family])
                seen += 1
    assert seen


@pytest.mark.parametrize("family", DATED)
def test_a_conversation_has_the_configured_date(tmp_path: Path, family: str) -> None:
    benchmark = load(tmp_path, talks=TALKS, ending=".jsonl", turns="all", **{FORMAT_KEY: CHAT})
    tokenizer = next(known for known in FAMILIES if known.name == family).make()
    rows = [*benchmark.train["forget"], *benchmark.evaluation["forget"], *benchmark.train["retain"]]
    assert max(len(row.template.turns) for row in rows if row.template is not None) == 1, "later turns are among them"
    for row in rows:
        template = row.template or benchmark.template
        example = encode(tokenizer, row.row_id, row.question, row.answer, template)
        assert dated(str(tokenizer.decode(list(example.prompt_ids))), DATED[family])
