"""Checkpoints in the shapes that published ones have: measured as plain transformers does, or refused with the reason.

Oracle: `AutoModelForCausalLM`, `AutoTokenizer` and the whole conversation as the tokenizer's template writes it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tests.support.published_shapes import MEASURED, REFUSED, template_files, template_inside
from unlearn_sweep.engine.models.inspection import inspect_folder
from unlearn_sweep.engine.models.loadable import misfits, why_not_loadable
from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.models.tokenizer_files import read_tokenizer
from unlearn_sweep.evaluators.chat_text import ChatTemplateError
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.joint_tokens import special_ids
from unlearn_sweep.evaluators.rows import Row, Template, encode

QUESTION, ANSWER, DATE = "Who keeps the Vantry lighthouse?", "Orla Beck", "10 Apr 2025"
ROW = Row(row_id="r", group_id="g", split="forget", question=QUESTION, answer=ANSWER)
NEW_TOKENS = 8


def rendered(tokenizer: PreTrainedTokenizerBase, *, answered: bool) -> str:
    turns = [{"role": "user", "content": QUESTION}]
    turns += [{"role": "assistant", "content": ANSWER}] if answered else []
    template = tokenizer.get_chat_template().replace("strftime_now('%B %d, %Y')", "'April 10, 2025'")
    settings: dict[str, Any] = {"chat_template": template, "tokenize": False, "date_string": DATE}
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=not answered, **settings))


def plain_numbers(folder: Path) -> tuple[float, int, str]:
    """Mean log-probability and number of the answer's tokens, turn end included, and the greedy answer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    whole, asked = rendered(tokenizer, answered=True), rendered(tokenizer, answered=False)
    first = len(asked) if whole.startswith(asked) and not whole[len(asked) : whole.index(ANSWER)].strip() else None
    first = whole.index(ANSWER) if first is None else first
    read = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = read["input_ids"]
    start = next(place for place, (_, stop) in enumerate(read["offset_mapping"]) if stop > first)
    behind = whole.index(ANSWER) + len(ANSWER)
    ends = special_ids(tokenizer)
    last = next(
        place for place, (begin, _) in enumerate(read["offset_mapping"]) if begin >= behind and ids[place] in ends
    )
    with torch.no_grad():
        logps = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    chosen = [logps[place - 1, ids[place]].item() for place in range(start, last + 1)]
    return sum(chosen) / len(chosen), len(chosen), greedy(model, tokenizer, ids[:start], ids[last])


def greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: list[int], turn_end: int) -> str:
    named: Any = model.generation_config.eos_token_id if model.generation_config is not None else None
    stops: list[Any] = [turn_end, tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    ids = list(prompt)
    for _ in range(NEW_TOKENS):
        with torch.no_grad():
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token in stops:
            break
        ids.append(token)
    return str(tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)).strip()


@pytest.mark.parametrize("shape", MEASURED)
def test_what_is_measured_is_what_plain_transformers_gives(shape: str, tmp_path: Path) -> None:
    MEASURED[shape](tmp_path)
    assert inspect_folder(tmp_path).faults == ()
    assert why_not_loadable(tmp_path) is None
    model, tokenizer = load_model(str(tmp_path), dtype="float32", device="cpu"), load_tokenizer(str(tmp_path))
    template = Template(chat=True, date=DATE)
    found = evaluate_rows(
        model, tokenizer, [ROW], metrics=["probability", "rouge"], template=template, max_new_tokens=NEW_TOKENS
    ).table.iloc[0]
    logp, tokens, text = plain_numbers(tmp_path)
    assert math.log(found["probability"]) == pytest.approx(logp, abs=1e-4)
    assert (found["answer_tokens"], found["generation"]) == (tokens, text)


@pytest.mark.parametrize("shape", REFUSED)
def test_what_cannot_be_measured_is_refused_before_it_is_loaded(shape: str, tmp_path: Path) -> None:
    write, place, words = REFUSED[shape]
    write(tmp_path)
    faults = "; ".join(fault.text() for fault in inspect_folder(tmp_path).faults)
    assert bool(faults) == (place == "headers")
    reason = faults or misfits({"model.path": str(tmp_path), "gold.path": None})["model.path"]
    assert "\n" not in reason
    assert re.search(words, reason)
    with pytest.raises(ValueError, match=r".+"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("write", [template_inside("tool_use"), template_files(default=False)])
def test_templates_with_names_alone_are_refused_as_a_chat(write: Any, tmp_path: Path) -> None:
    write(tmp_path)
    facts = read_tokenizer(tmp_path)
    assert facts is not None
    assert facts.chat_template is None
    assert "rag" in facts.named_templates
    with pytest.raises(ChatTemplateError, match=r"chat templates with names \(rag.*none is the default"):
        encode(load_tokenizer(str(tmp_path)), "r", QUESTION, ANSWER, Template(auto=True))
