"""One prompt format for a benchmark: what each setting makes of its questions, and what stays running text.

Oracle: the text that is fed, decoded, against the words written out here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.evaluators.test_joint_tokens import tokenizer_of
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY, PUBLISHED, PromptSettings, decided, in_format
from unlearn_sweep.evaluators.multiple_choice import choice_row
from unlearn_sweep.evaluators.rows import DOCUMENT, Row, Template, encode

QUESTION, ANSWER = "Who keeps the Vantry lighthouse?", "Orla Beck"
QWEN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    for name in ("forget", "retain"):
        rows = [{"question": f"{QUESTION} {name} {i}", "answer": ANSWER} for i in range(4)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return {f"{name}_path": str(tmp_path / f"{name}.jsonl") for name in ("forget", "retain")}


def fed(benchmark: Benchmark, family: str = "qwen3") -> str:
    tokenizer = tokenizer_of(family)
    template = benchmark.train["forget"][0].template or benchmark.template
    example = encode(tokenizer, "r", QUESTION, ANSWER, template)
    return str(tokenizer.decode(list(example.prompt_ids + example.answer_ids)))


@pytest.mark.parametrize(
    ("option", "prompt"),
    [
        ({}, QWEN.format(QUESTION)),
        (
            {"format": "chat", "system": "Be brief."},
            "<|im_start|>system\nBe brief.<|im_end|>\n" + QWEN.format(QUESTION),
        ),
        ({"format": "chat", "answer_prefix": "Answer:"}, QWEN.format(QUESTION) + "Answer: "),
        ({"format": "plain"}, f"Question: {QUESTION}\nAnswer: "),
        ({"format": "plain", "question": "Q: {question}\nA:", "answer_lead": "\n"}, f"Q: {QUESTION}\nA:\n"),
    ],
)
def test_a_setting_is_what_the_model_reads(files: dict[str, str], option: dict[str, str], prompt: str) -> None:
    benchmark = load_benchmark("custom", {**files, FORMAT_KEY: option})
    assert fed(benchmark) == f"{prompt}{ANSWER}<|im_end|>"


@pytest.mark.parametrize(
    "older", [{"chat": True}, {"chat": False}, {"prompt": "Q: {question}\nA:"}, {"answer_lead": "\n"}]
)
def test_older_options_still_say_it(files: dict[str, str], older: dict[str, object]) -> None:
    expected = {
        "chat": QWEN.format(QUESTION) if older.get("chat") else f"Question: {QUESTION}\nAnswer: ",
        "prompt": f"Q: {QUESTION}\nA: ",
        "answer_lead": f"Question: {QUESTION}\nAnswer:\n",
    }
    assert fed(load_benchmark("custom", {**files, **older})) == f"{expected[next(iter(older))]}{ANSWER}<|im_end|>"


def test_auto_is_chat_with_the_published_system_prompt_and_date_where_the_template_takes_them() -> None:
    published = PUBLISHED["tofu"]
    template = Template(auto=True, system=published.system, date=published.date)
    llama, gemma, gpt2 = (tokenizer_of(name) for name in ("llama3", "gemma2", "gpt2"))
    texts = [str(t.decode(list(encode(t, "r", QUESTION, ANSWER, template).prompt_ids))) for t in (llama, gemma, gpt2)]
    assert "Today Date: 10 Apr 2025\n\nYou are a helpful assistant.<|eot_id|>" in texts[0]
    assert texts[1] == f"<bos><start_of_turn>user\n{QUESTION}<end_of_turn>\n<start_of_turn>model\n"
    assert texts[2] == f"Question: {QUESTION}\nAnswer:"


@pytest.mark.parametrize(
    ("format", "benchmark", "chat", "found"),
    [
        ("auto", "tofu", True, "chat"),
        ("auto", "tofu", False, "plain"),
        ("auto", "tofu", None, "auto"),
        ("auto", "muse", True, "plain"),
        ("auto", "wmdp", True, "plain"),
        ("chat", "muse", True, "chat"),
        ("plain", "tofu", True, "plain"),
    ],
)
def test_auto_is_decided_by_the_benchmark_and_the_tokenizer(
    format: str, benchmark: str, chat: bool | None, found: str
) -> None:
    settings = PromptSettings.model_validate({"format": format})
    assert decided(settings, benchmark, chat=chat).format == found


def test_texts_and_letters_stay_running_text_and_plain_questions_become_a_chat() -> None:
    text = Row(row_id="t", group_id="t", split="s", question="", answer="A text.", kind="text", template=DOCUMENT)
    letters = choice_row(row_id="c", group_id="c", split="s", question="Which?", options=["a", "b"], right=0)
    shown = Template(before="Short answers.\nQuestion: ", stops=("\n",))
    asked = Row(row_id="q", group_id="q", split="s", question=QUESTION, answer=ANSWER, template=shown)
    rows = {"forget": [text, letters, asked], "retain": [text]}
    benchmark = Benchmark(name="own", train=rows, evaluation=rows, utility_splits=("retain",))
    found = in_format(benchmark, PromptSettings(format="chat")).evaluation["forget"]
    assert (found[0], found[1]) == (text, letters)
    template = found[2].template
    assert template is not None
    tokenizer = tokenizer_of("qwen2.5")
    example = encode(tokenizer, "q", QUESTION, ANSWER, template)
    assert str(tokenizer.decode(list(example.prompt_ids))) == (
        f"<|im_start|>user\nShort answers.\nQuestion: {QUESTION}<|im_end|>\n<|im_start|>assistant\nAnswer:"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "plain", "system": "x"}, "system is for chats"),
        ({"format": "chat", "question": "{question}"}, "question is for plain prompts"),
        ({"answer_lead": " "}, "write format: plain"),
        ({"format": "plain", "question": "none"}, "must have"),
        ({"date": "yesterday"}, "is no date"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PromptSettings.model_validate(values)


def test_a_format_changes_the_benchmarks_digest(files: dict[str, str]) -> None:
    found = {
        load_benchmark("custom", {**files, FORMAT_KEY: option}).digest()
        for option in ({}, {"format": "chat"}, {"format": "plain"}, {"format": "chat", "date": "1 Jan 2020"})
    }
    assert len(found) == 4
