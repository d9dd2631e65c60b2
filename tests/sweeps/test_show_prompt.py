"""What `validate --show-prompt` prints. Oracle: the conversation as plain transformers renders it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evaluators.test_joint_tokens import BY_NAME, DATE, SYSTEM, conversation
from tests.support.architectures import small_benchmark
from tests.support.tiny_authors import PREFILL, QUANTIZE, tiny_job
from unlearn_sweep.engine.job import BenchmarkSettings, ModelSource
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY, PromptSettings, in_format
from unlearn_sweep.evaluators.rows import Row, Template
from unlearn_sweep.evaluators.thought_marks import ThinkingSettings
from unlearn_sweep.sweeps.show_prompt import prompt_lines, shown

QUESTION, ANSWER = "Who keeps the Vantry lighthouse?", "Orla Beck"
OPTION = {"format": "chat", "system": SYSTEM, "date": DATE}


def test_each_view_metric_and_attack_is_shown_word_for_word(tmp_path: Path) -> None:
    family = BY_NAME["llama3"]
    tokenizer = family.make()
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [json.dumps({"question": QUESTION, "answer": ANSWER})]
    rows += [json.dumps({"question": f"Who rows ferry {i}?", "answer": f"Ivo {i}"}) for i in range(4)]
    for name, lines in (("forget", rows), ("retain", [row.replace("Who", "Which one") for row in rows])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    files = {f"{name}_path": str(tmp_path / f"{name}.jsonl") for name in ("forget", "retain")}
    source = BenchmarkSettings(name="custom", params={**files, FORMAT_KEY: OPTION})
    model = ModelSource(path=str(tmp_path / "model"))
    job = tiny_job(tmp_path, "shown", [PREFILL, QUANTIZE]).model_copy(update={"benchmark": source, "original": model})
    printed = list(prompt_lines(job, load_benchmark(source.name, source.params)))
    header = conversation(family, QUESTION, None, SYSTEM)
    assert printed[:2] == ["--- training view forget, row forget/00000", f"{header}⟦{ANSWER}<|eot_id|>⟧"]
    pieces = [str(tokenizer.decode([token])) for token in tokenizer(ANSWER, add_special_tokens=False)["input_ids"]]
    assert printed[2] == f"tokens ⟦{' '.join(map(repr, [*pieces, '<|eot_id|>']))}⟧"
    titles = [line for line in printed if line.startswith("---")]
    assert len(titles) == 6  # two views, two splits, two attacks
    assert any("metrics on forget (probability, extraction_strength)" in title for title in titles)
    prefilled = printed[printed.index(next(line for line in printed if "attack prefill" in line)) + 1]
    assert prefilled == f"{header}{pieces[0]}⟦{''.join(pieces[1:])}<|eot_id|>⟧"


@pytest.mark.parametrize(
    ("family", "option", "words"),
    [
        ("llama3", OPTION | {"answer_prefix": "Answer:"}, "so no second blank is put before it"),
        ("llama3", {"format": "plain"}, "so no second blank is put before it"),
        ("llama3", {"format": "plain", "answer_lead": ""}, "which is kept"),
        ("llama3", OPTION, "which the chat template takes away"),
        ("qwen2.5", OPTION, "which the chat template keeps"),
    ],
)
def test_what_becomes_of_an_answers_own_blank_is_said(family: str, option: dict[str, str], words: str) -> None:
    tokenizer = BY_NAME[family].make()
    row = Row(row_id="r", group_id="g", split="forget", question=QUESTION, answer=f" {ANSWER}")
    asked = in_format(
        replace(small_benchmark(), template=Template(before="", after="")), PromptSettings.model_validate(option)
    )
    lines = list(shown(tokenizer, asked, "training view forget", row))
    assert lines[-1] == f"note: the answer begins with white space of its own, {words}"
    printed = lines[1].replace("⟦", "").replace("⟧", "")
    assert f"  {ANSWER}" not in printed
    assert (f" {ANSWER}" in printed) == ("takes away" not in words)
    assert len(list(shown(tokenizer, asked, "training view forget", replace(row, answer=ANSWER)))) == 3


def test_where_a_thinking_model_writes_its_thoughts_is_marked(tmp_path: Path) -> None:
    family = BY_NAME["qwen3"]
    tokenizer = family.make()
    option = PromptSettings(format="chat", system=SYSTEM, date=DATE, thinking=ThinkingSettings(max_tokens=9))
    benchmark = in_format(small_benchmark(), option)
    row = Row(row_id="r", group_id="g", split="forget", question=QUESTION, answer=ANSWER)
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    opened = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=True))
    _, text, _ = shown(tokenizer, benchmark, "metrics", row, benchmark.thinking)
    mark = "<think>\n[the model's own thoughts, at most 9 tokens]\n</think>\n\n"
    assert text == f"{opened}{mark}⟦{ANSWER}<|im_end|>⟧"
    _, trained, _ = shown(tokenizer, benchmark, "training view", row)
    assert "own thoughts" not in trained
