"""Section `prompt` of a sweep file: what a job keeps of it, and what is refused. Oracle: expectations written out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.model_folders import write_model_folder
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY
from unlearn_sweep.sweeps.file.file_schema import SourceSection
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.prompt import has_chat_template
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import resolve

SWEEP = """
name: asked
benchmark: {name: %s}
methods: {npo: published}
attacks: [{prefill: {tokens: [1]}}]
%s
"""
HUB = "model: {path: owner/name}\ngold: {path: owner/gold}\n"


def kept(tmp_path: Path, benchmark: str, prompt: str) -> dict[str, object]:
    job = resolve(parse_spec(SWEEP % (benchmark, prompt), folder=tmp_path))
    return {name: value for name, value in job.benchmark.params[FORMAT_KEY].items() if value != {}}


@pytest.mark.parametrize(
    ("benchmark", "prompt", "found"),
    [
        ("tofu", "", {"format": "plain"}),  # a model made here has no chat template
        ("tofu", HUB, {"format": "auto"}),  # known when the model is read
        ("tofu", HUB + "prompt: chat", {"format": "chat"}),
        ("muse, corpus: news", HUB, {"format": "plain"}),
        ("tofu", "prompt: 'Q: {question}'", {"format": "plain", "question": "Q: {question}"}),
        (
            "tofu",
            HUB + "prompt: {format: chat, system: '', date: 2025-04-10, template_args: {enable_thinking: false}}",
            {"format": "chat", "system": "", "date": "2025-04-10", "template_args": {"enable_thinking": False}},
        ),
        ("custom, forget_path: f.jsonl, retain_path: f.jsonl, chat: true", HUB, {"format": "chat"}),
        (
            "custom, forget_path: f.jsonl, retain_path: f.jsonl, prompt: 'Q {question}', answer_lead: ''",
            HUB,
            {"format": "plain", "question": "Q {question}", "answer_lead": ""},
        ),
    ],
)
def test_a_job_keeps_one_format(tmp_path: Path, benchmark: str, prompt: str, found: dict[str, object]) -> None:
    (tmp_path / "f.jsonl").write_text('{"question": "Who?", "answer": "Orla"}\n', encoding="utf-8")
    assert kept(tmp_path, benchmark, prompt) == found


def test_another_format_is_another_sweep_and_another_probe_is_not(tmp_path: Path) -> None:
    texts = ["", "prompt: {probe: 'off'}", "prompt: {format: plain, question: '{question}'}"]
    digests = [resolve(parse_spec(SWEEP % ("authors", text), folder=tmp_path)).digest() for text in texts]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("benchmark", "prompt", "path", "message"),
    [
        ("tofu", "prompt: chat", "prompt.format", "no chat template"),
        ("tofu", "prompt: {system: Be brief.}", "prompt.system", "no chat template"),
        ("tofu", "prompt: {format: plain, system: x}", "prompt", "system is for chats"),
        ("tofu", HUB + "prompt: {format: chat, date: someday}", "prompt.date", "is no date"),
        ("tofu", "prompt: {formt: chat}", "prompt.formt", "unknown key"),
        ("muse, corpus: news", HUB + "prompt: {system: x}", "prompt.system", "format: auto prompts muse in plain text"),
        (
            "custom, forget_path: f.jsonl, retain_path: f.jsonl, chat: true",
            HUB + "prompt: plain",
            "benchmark.chat",
            "twice",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(
    tmp_path: Path, benchmark: str, prompt: str, path: str, message: str
) -> None:
    (tmp_path / "f.jsonl").write_text('{"question": "Who?", "answer": "Orla"}\n', encoding="utf-8")
    with pytest.raises(SpecError) as refused:
        parse_spec(SWEEP % (benchmark, prompt), folder=tmp_path)
    (problem,) = refused.value.problems
    assert problem.path == path
    assert message in problem.message


def test_a_chat_template_is_found_in_either_file(tmp_path: Path) -> None:
    model = SourceSection(path=str(tmp_path))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert has_chat_template(model, tmp_path) is False
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ x }}"}), encoding="utf-8")
    assert has_chat_template(model, tmp_path) is True
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "chat_template.jinja").write_text("{{ x }}", encoding="utf-8")
    assert has_chat_template(model, tmp_path) is True
    assert has_chat_template(SourceSection(path="owner/name"), tmp_path) is None


NAMED = [{"name": "rag", "template": "{{ x }}"}]
THINK = "attacks: [{think: {}}, {chain: [{prefill: {tokens: 1}}, {think: {argument: thinking}}]}]\n"


@pytest.mark.parametrize(
    ("template", "prompt", "messages"),
    [
        ("{{ enable_thinking or thinking }}", "", []),
        ("{{ enable_thinking }}", "", ["has no argument thinking,"]),
        ("{{ messages }}", "", ["has no argument enable_thinking", "has no argument thinking,"]),
        ("{{ messages }}", "prompt: plain", ["custom is asked plainly here"] * 2),
        (None, "", ["the model's tokenizer has none"] * 2),
        (NAMED, "", ["chat templates with names (rag)"]),
        (NAMED, "prompt: plain", ["custom is asked plainly here"] * 2),
    ],
)
def test_thinking_needs_a_chat_template_with_its_argument(
    tmp_path: Path, template: object, prompt: str, messages: list[str]
) -> None:
    (tmp_path / "f.jsonl").write_text('{"question": "Who?", "answer": "Orla"}\n', encoding="utf-8")
    write_model_folder(tmp_path / "m")
    if template is not None:
        (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    text = SWEEP % (
        "custom, forget_path: f.jsonl, retain_path: f.jsonl",
        f"model: {{path: m}}\ngold: {{path: m}}\n{prompt}",
    )
    text = text.replace("attacks: [{prefill: {tokens: [1]}}]\n", THINK)
    if not messages:
        parse_spec(text, folder=tmp_path)
        return
    with pytest.raises(SpecError) as refused:
        parse_spec(text, folder=tmp_path)
    found = refused.value.problems
    assert len(found) == len(messages)
    assert all(words in problem.message for words, problem in zip(messages, found, strict=True))


def test_a_setting_that_does_not_make_answers_follow_thoughts_is_said(tmp_path: Path) -> None:
    text = SWEEP % ("tofu", HUB + "prompt: {format: chat, template_args: {enable_thinking: %s}}")
    notes = [parse_spec(text % value, folder=tmp_path).notes for value in ("true", "false")]
    assert [sum("attack think ask with thoughts" in note for note in found) for found in notes] == [1, 0]
