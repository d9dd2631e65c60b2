"""Thinking in a sweep file: what a job keeps, which stages it changes, what is planned, shown and refused.

Oracles: expectations written out, plain transformers for what is shown, a loopback hub for templates that are not here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.evaluators.attacks.test_think import QWEN
from tests.support.hub_server import Hub, serving
from tests.support.model_folders import write_model_folder
from tests.sweeps.sweep_text import TWO_CPUS
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages import measuring_requests, training_requests
from unlearn_sweep.evaluators.attacks.think_params import ThinkParams
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY, PromptSettings
from unlearn_sweep.evaluators.rows import DOCUMENT
from unlearn_sweep.evaluators.thought_marks import ThinkingSettings
from unlearn_sweep.sweeps.audit import AuditRequest
from unlearn_sweep.sweeps.audit import check as check_audit
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec, parse_spec
from unlearn_sweep.sweeps.plan.estimates import Rate, evaluation_seconds, writing_seconds
from unlearn_sweep.sweeps.plan.hub_check import check_hub
from unlearn_sweep.sweeps.plan.plan import make_plan
from unlearn_sweep.sweeps.plan.thinking_check import template_refusals, thinking_obstacles
from unlearn_sweep.sweeps.plan.workload import Workload
from unlearn_sweep.sweeps.resolve import resolve

SWEEP = """
name: thinks
benchmark: {name: custom, forget_path: f.jsonl, retain_path: r.jsonl}
model: {path: %s}
gold: {path: %s}
methods: {npo: published}
attacks: [%s]
%s
"""
THINKING = "prompt: {format: chat, thinking: {max_tokens: %d}}"
NO_SWITCH = "{% for m in messages %}{{ m.content }}{% endfor %}"


def folder(tmp_path: Path, template: str = QWEN, context: int = 4096) -> Path:
    made = write_model_folder(tmp_path / "m")
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps({**config, "max_position_embeddings": context}))
    (made / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    for name in "fr":
        rows = [json.dumps({"question": f"Who rows {name} {i}?", "answer": f"Ivo {i}"}) for i in range(8)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return made


def spec_of(tmp_path: Path, prompt: str, attacks: str = "{prefill: {tokens: [1]}}", model: str = "m") -> SweepSpec:
    return parse_spec(SWEEP % (model, model, attacks, prompt), folder=tmp_path, machine=TWO_CPUS)


def test_it_is_part_of_the_job_of_measuring_stages_and_of_no_training(tmp_path: Path) -> None:
    folder(tmp_path)
    plain, thinks, longer = (
        resolve(spec_of(tmp_path, text)) for text in ("prompt: chat", THINKING % 32, THINKING % 64)
    )
    assert thinks.benchmark.params[FORMAT_KEY]["thinking"]["max_tokens"] == 32
    assert "thinking" not in plain.benchmark.params[FORMAT_KEY]
    assert len({job.digest() for job in (plain, thinks, longer)}) == 3

    def keys(job: SweepJob) -> tuple[str, str, str]:
        return (
            measuring_requests.evaluate_stage(job, "m", "d").key,
            measuring_requests.attack_stage(job, job.attacks[0], "m", "o", "d").key,
            training_requests.unlearn_stage(job, "npo", {"learning_rate": 1e-5}, 1, "o", "d").key,
        )

    measured, attacked, trained = (set(found) for found in zip(*map(keys, (plain, thinks, longer)), strict=True))
    assert (len(measured), len(attacked), len(trained)) == (3, 3, 1)
    assert "thinking" not in measuring_requests.evaluate_stage(plain, "m", "d").inputs


def test_plan_says_it_and_its_notes_do_not_say_that_answers_follow_no_thoughts(tmp_path: Path) -> None:
    folder(tmp_path)
    said = make_plan(spec_of(tmp_path, THINKING % 32))
    assert "measured behind the model's own thoughts of at most 32 tokens" in said.prompt
    assert said.obstacles == ()
    enabled = "prompt: {format: chat, template_args: {enable_thinking: true}, thinking: {max_tokens: 32}}"
    assert not [note for note in spec_of(tmp_path, enabled).notes if "empty think block" in note]


def test_plan_counts_the_thoughts_of_setting_and_attack(tmp_path: Path) -> None:
    folder(tmp_path)
    attack = "{think: {tokens: [64]}}, {prefill: {tokens: [1]}}"
    plain, thinks = (make_plan(spec_of(tmp_path, text, attack)) for text in ("prompt: chat", THINKING % 200))
    seconds = [{stage.name: stage.seconds or 0.0 for stage in plan.stages} for plan in (plain, thinks)]
    # 16 rows in one batch, 200 steps of 10 ms; the model is too small for its operations to count.
    assert seconds[1]["evaluate"] - seconds[0]["evaluate"] == pytest.approx(2.0, abs=0.05)
    assert seconds[1]["attack:prefill"] - seconds[0]["attack:prefill"] == pytest.approx(2.0, abs=0.05)
    assert seconds[0]["attack:think"] - seconds[0]["attack:prefill"] == pytest.approx(0.64, abs=0.05)


def test_seconds_of_thoughts_by_hand() -> None:
    """300 rows are two batches of 256: 2 x 50 steps of 0.1 s; 2 x 1000 x 300 x (20 + 50) operations at 1e6 a second."""
    work = Workload(
        forget_rows=1, retain_rows=1, tokens_per_row=1.0, evaluation_rows=300, prompt_tokens=20.0, answer_tokens=0.0,
        answers_per_row=1.0, new_tokens=0, forget_judged=100, thinking_rows=300, thought_tokens=50,
    )  # fmt: skip
    rate = Rate(flops=1e6, step_s=0.1)
    assert writing_seconds(1000, work, 300, 50, rate) == pytest.approx(10.0 + 42.0)
    without = replace(work, thought_tokens=0)
    # The answers are read behind prompts that are 50 tokens longer: 300 x 50 x 2 x 1000 operations, 3 more batches.
    more = evaluation_seconds(1000, work, rate) - evaluation_seconds(1000, without, rate)
    assert more == pytest.approx(52.0 + 30.0 + 0.4, abs=0.11)
    assert ThinkParams(tokens=[8, 32]).work().written_tokens == 32
    assert ThinkParams(thought="").work().written_tokens == 0


@pytest.mark.parametrize(
    ("prompt", "path", "words"),
    [
        ("prompt: {format: plain, thinking: {max_tokens: 8}}", "prompt", "thinking is for chats"),
        ("prompt: {format: chat, thinking: {}}", "prompt.thinking.max_tokens", "missing"),
        ("prompt: {format: chat, thinking: {max_tokens: 0}}", "prompt.thinking.max_tokens", "out of range > 0"),
        ("prompt: {format: chat, thinking: {max_token: 8}}", "prompt.thinking.max_token", "unknown key"),
        (
            "prompt: {format: chat, template_args: {enable_thinking: false}, thinking: {max_tokens: 8}}",
            "prompt",
            "switches enable_thinking off",
        ),
        (
            "prompt: {format: chat, thinking: {max_tokens: 8, argument: thinking}}",
            "prompt.thinking",
            "the chat template has no argument thinking",
        ),
    ],
)
def test_what_cannot_think_is_refused_with_its_place(tmp_path: Path, prompt: str, path: str, words: str) -> None:
    folder(tmp_path)
    with pytest.raises(SpecError) as refused:
        spec_of(tmp_path, prompt)
    problems = {problem.path: f"{problem.message} {problem.allowed}" for problem in refused.value.problems}
    assert path in problems
    assert words in problems[path]


def test_a_template_that_always_thinks_needs_no_argument(tmp_path: Path) -> None:
    folder(tmp_path, template="{{ messages }}{% if add_generation_prompt %}<think>\n{% endif %}")
    spec_of(tmp_path, 'prompt: {format: chat, thinking: {max_tokens: 8, argument: ""}}')
    folder(tmp_path, template=NO_SWITCH)
    with pytest.raises(SpecError) as refused:
        spec_of(tmp_path, 'prompt: {format: chat, thinking: {max_tokens: 8, argument: ""}}')
    assert "mentions neither <think> nor </think>" in refused.value.problems[0].message


def test_thoughts_longer_than_the_context_are_an_obstacle(tmp_path: Path) -> None:
    folder(tmp_path, context=256)

    def obstacles(budget: int) -> list[str]:
        job = resolve(spec_of(tmp_path, THINKING % budget))
        return list(thinking_obstacles(job, load_benchmark(job.benchmark.name, job.benchmark.params)))

    assert obstacles(100) == []
    (said,) = obstacles(250)
    assert "leave no room for prompt and answer in the model's context of 256" in said


def test_rows_of_which_none_is_asked_in_a_chat_are_an_obstacle(tmp_path: Path) -> None:
    folder(tmp_path)
    job = resolve(spec_of(tmp_path, THINKING % 8))
    benchmark = load_benchmark(job.benchmark.name, job.benchmark.params)
    texts = {split: [replace(row, template=DOCUMENT) for row in rows] for split, rows in benchmark.evaluation.items()}
    (said,) = thinking_obstacles(job, replace(benchmark, evaluation=texts))
    assert "custom asks none of its 16 rows so" in said


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    thinks = folder(tmp_path)
    cannot = write_model_folder(tmp_path / "cannot")
    (cannot / "chat_template.jinja").write_text(NO_SWITCH)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving({}, models={"own/thinks": {"main": thinks}, "own/cannot": {"main": cannot}}) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def test_a_template_on_the_hub_is_read_before_anything_starts(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacks = "{prefill: {tokens: [1]}}, {chain: [{prefill: {tokens: [1]}}, {think: {tokens: [8]}}]}"
    fine = spec_of(tmp_path, THINKING % 8, attacks, "own/thinks")
    assert check_hub(fine, resolve(fine)) == []
    wrong = spec_of(tmp_path, THINKING % 8, attacks, "own/cannot")
    with pytest.raises(SpecError) as refused:
        check_hub(wrong, resolve(wrong))
    problems = {problem.path: problem.message for problem in refused.value.problems}
    assert set(problems) == {"prompt.thinking", "attacks[1]"}
    assert all("own/cannot: the chat template has no argument enable_thinking" in said for said in problems.values())
    assert [said for said in make_plan(wrong).obstacles if "attacks.1" in said or "prompt.thinking" in said]
    asked = len(hub.paths)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the template is in the cache now
    assert set(template_refusals(resolve(wrong))) == {"prompt.thinking", "attacks.1"}
    assert len(hub.paths) == asked


def test_an_audit_takes_it_and_refuses_it_by_option(tmp_path: Path) -> None:
    made = folder(tmp_path)
    request = AuditRequest(
        model=str(made), benchmark="custom", settings=("forget_path=f.jsonl", "retain_path=r.jsonl"), gold="chance",
        original=str(made), attacks=("{prefill: {tokens: [1]}}",),
        prompt="{format: chat, thinking: {max_tokens: 8}}", folder=tmp_path,
    )  # fmt: skip
    assert check_audit(request).job.benchmark.params[FORMAT_KEY]["thinking"]["max_tokens"] == 8
    folder(tmp_path, template=NO_SWITCH)
    with pytest.raises(SpecError) as refused:
        check_audit(request)
    assert [problem.path for problem in refused.value.problems] == ["--prompt thinking"]


def test_settings_survive_the_job() -> None:
    settings = PromptSettings(format="chat", thinking=ThinkingSettings(max_tokens=8, argument=""))
    assert PromptSettings.model_validate(json.loads(json.dumps(settings.as_option()))) == settings
