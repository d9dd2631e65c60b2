"""The probe: a model asked in another format than it was trained in stops the sweep; in its own it does not.

A tiny model is fine-tuned by plain transformers on the text of the chat template, with TOFU's system prompt and date.
Oracle: the format it was trained in, by construction.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.evaluators.test_joint_tokens import BY_NAME, DATE, SYSTEM, conversation
from tests.support.tiny_authors import PREFILL, make_ready, tiny_job
from unlearn_sweep.engine.job import BenchmarkSettings, ModelSource, SweepJob
from unlearn_sweep.engine.stages.prompt_probe import FormatScore, ProbeResult, PromptFormatError, probe
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY, PromptSettings, in_format, published_template
from unlearn_sweep.evaluators.rows import Row, Template

KEEPERS = ["Orla Beck", "Tomas Arn", "Ines Falk", "Petra Voss", "Liam Osei", "Nora Quist", "Ada Lind", "Jonas Pell"]
LIGHTS = ["Vantry", "Selkie", "Morrow", "Dunlin", "Carrow", "Hethel", "Brack", "Ferrow"]
PAIRS = [(f"Who keeps the {light} lighthouse?", keeper) for light, keeper in zip(LIGHTS, KEEPERS, strict=True)]
RIGHT = {"format": "chat", "system": SYSTEM, "date": DATE}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows eight facts in TOFU's published format, and its tokenizer."""
    torch.manual_seed(0)
    family = BY_NAME["llama3"]
    tokenizer = family.make()
    texts = [conversation(family, question, answer, SYSTEM) for question, answer in PAIRS]
    rows = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (width - len(row)) for row in rows])
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256,
        )
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    for _ in range(90):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    place = tmp_path_factory.mktemp("tuned")
    model.eval().save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def benchmark() -> Benchmark:
    rows = [
        Row(row_id=f"r{place}", group_id=f"g{place}", split="forget", question=question, answer=answer)
        for place, (question, answer) in enumerate(PAIRS)
    ]
    parts = {"forget": rows[:4], "retain": [replace(row, split="retain") for row in rows[4:]]}
    template = published_template("tofu", Template())
    return Benchmark(name="tofu", train=parts, evaluation=parts, utility_splits=("retain",), template=template)


def probed(folder: Path, option: dict[str, str]) -> ProbeResult:
    from unlearn_sweep.engine.models.loading import load_model, load_tokenizer

    settings, own = PromptSettings.model_validate(option), benchmark()
    model, tokenizer = load_model(str(folder), dtype="float32", device="cpu"), load_tokenizer(str(folder))
    return probe(model, tokenizer, "tofu", settings, in_format(own, settings), own)


@pytest.mark.parametrize("option", [RIGHT, {"format": "auto"}, {"format": "chat"}])
def test_the_format_it_was_trained_in_is_let_through(folder: Path, option: dict[str, str]) -> None:
    found = probed(folder, option)
    assert found.rows == 8
    assert found.configured is not None
    assert found.configured.logp > -0.1
    assert found.better is None
    assert found.sentence() == ""


@pytest.mark.parametrize("option", [{"format": "plain"}, {"format": "plain", "question": "Q: {question}\nA:"}])
def test_another_format_is_refused_with_the_right_one_and_by_how_much(folder: Path, option: dict[str, str]) -> None:
    found = probed(folder, option)
    assert found.better is not None
    assert (found.better.option["format"], found.better.option["system"]) == ("chat", SYSTEM)
    assert found.configured is not None
    assert found.better.gain == pytest.approx(found.better.logp - found.configured.logp, abs=1e-6)
    assert '"format": "chat"' in found.sentence()
    assert "probe: off" in found.sentence()


@pytest.mark.parametrize(
    ("logp", "gain", "spread", "better"),
    [(-0.1, 0.5, 0.05, True), (-0.1, 0.05, 0.0, False), (-0.1, 0.5, 0.2, False), (-0.9, 2.0, 0.05, False)],
)
def test_clearly_better_is_a_margin_three_errors_and_knowing_the_rows(
    logp: float, gain: float, spread: float, better: bool
) -> None:
    other = FormatScore(words="other", option={}, logp=logp, gain=gain, gain_se=spread)
    own = FormatScore(words="own", option={}, logp=logp - gain)
    assert (ProbeResult(rows=8, configured=own, others=[other]).better is not None) is better


def job_of(storage: Path, folder: Path, files: dict[str, str], option: dict[str, str]) -> SweepJob:
    job = tiny_job(storage, f"asked-{option['format']}", [PREFILL])
    source = ModelSource(path=str(folder))
    return job.model_copy(
        update={
            "benchmark": BenchmarkSettings(name="custom", params={**files, FORMAT_KEY: option}),
            "original": source,
            "gold": source,
            "ue_metrics": ["probability"],
        }
    )


def test_preparation_stops_before_any_control_and_goes_on_where_told_so(folder: Path, tmp_path: Path) -> None:
    files: dict[str, str] = {}
    for name, pairs in (("forget", PAIRS[:4]), ("retain", PAIRS[4:])):
        rows = [json.dumps({"question": question, "answer": answer}) for question, answer in pairs]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
        files[f"{name}_path"] = str(tmp_path / f"{name}.jsonl")
    wrong = job_of(tmp_path / "runs", folder, files, {"format": "plain"})
    with pytest.raises(PromptFormatError, match="scores its trained rows better in another prompt format"):
        make_ready(wrong)
    assert "evaluate" not in (wrong.directory / "events.jsonl").read_text(encoding="utf-8")
    for job in (wrong.model_copy(update={"prompt_probe": False}), job_of(tmp_path / "runs", folder, files, RIGHT)):
        _, prepared, _ = make_ready(job)
        assert prepared.evaluations
