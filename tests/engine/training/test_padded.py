"""Micro-batches with prompts and padding left in. Oracle: transformers' own padding and attention mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.engine.training.conftest import JobMaker
from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.forward import SupervisedLM, pack
from unlearn_sweep.engine.training.loss import MethodError
from unlearn_sweep.engine.training.padded import IGNORED, pack_padded, supervised_part, unpack
from unlearn_sweep.engine.training.reference import FrozenModel
from unlearn_sweep.engine.training.steps import MicroStep, Run
from unlearn_sweep.engine.training.training_views import Encoder, Item, Views
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.methods.catalog import build
from unlearn_sweep.methods.interface import Needs

CPU = torch.device("cpu")
Batch = dict[str, tuple[Item, ...]]


@pytest.fixture
def batch(benchmark: Benchmark, start_model: Path) -> Batch:
    encoder = Encoder(load_tokenizer(str(start_model)), benchmark.template, 64)
    views = Views(benchmark, encoder, ("forget", "retain"), train_groups=("forget",), seed=0)
    return views.batch(views.plan(5), 0)


def test_the_supervised_part_is_the_packed_batch(start_model: Path, batch: Batch) -> None:
    module = SupervisedLM(load_model(str(start_model), device="cpu"), layers=(0, 1)).eval()
    packed, labels = pack_padded("forget", batch["forget"], 0, CPU)
    part = supervised_part(unpack(module.outputs(packed), labels))
    plain = pack({"forget": batch["forget"]}, CPU)
    expected = plain.supervised("forget", module.outputs(plain))
    assert part.targets.equal(expected.targets)
    assert part.sequence.equal(expected.sequence)
    torch.testing.assert_close(part.logits, expected.logits, rtol=1e-5, atol=1e-5)
    for layer in (0, 1):
        torch.testing.assert_close(part.hidden[layer], expected.hidden[layer], rtol=1e-5, atol=1e-5)


def test_every_place_is_what_transformers_pads(start_model: Path, batch: Batch) -> None:
    model, tokenizer = load_model(str(start_model), device="cpu").eval(), load_tokenizer(str(start_model))
    packed, labels = pack_padded("forget", batch["forget"], int(str(tokenizer.pad_token_id)), CPU)
    rows = [[*item.example.prompt_ids, *item.example.answer_ids] for item in batch["forget"]]
    tokenizer.padding_side = "right"
    padded = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    logits = model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).logits
    ours = unpack(SupervisedLM(model).outputs(packed), labels)
    assert packed.input_ids.equal(padded["input_ids"])
    torch.testing.assert_close(ours.logits, logits, rtol=1e-5, atol=1e-5)
    for item, row, ids in zip(batch["forget"], labels, padded["input_ids"], strict=True):
        prompt, end = len(item.example.prompt_ids), item.tokens
        assert row[prompt:end].equal(ids[prompt:end])
        assert set(row[:prompt].tolist()) | set(row[end:].tolist()) <= {IGNORED}


def test_no_rows_are_a_forward_all_the_same(start_model: Path) -> None:
    packed, labels = pack_padded("forget", (), 0, CPU)
    outputs = SupervisedLM(load_model(str(start_model), device="cpu")).outputs(packed)
    padded = unpack(outputs, labels)
    assert padded.logits.shape[0] == labels.shape[0] == packed.tokens == 0
    assert padded.logits.requires_grad
    assert supervised_part(padded).sequences == 0


def test_one_forward_serves_both_and_the_reference_is_the_start_model(start_model: Path, batch: Batch) -> None:
    model = load_model(str(start_model), device="cpu")
    module, seen = SupervisedLM(model), []

    def forward(packed: Any) -> Any:
        seen.append(packed.input_ids.shape)
        return module.outputs(packed)

    needs = Needs(reference="logits", reference_views=("retain",), padded=("retain",))
    tokenizer = load_tokenizer(str(start_model))
    run = Run(needs=needs, steps=8, seed=0, device=CPU, tokenizer=tokenizer, forward=forward, frozen=FrozenModel(model))
    step = MicroStep(run, 0, batch, joint=False)
    first, second = step.padded("retain"), step.forward("retain")
    assert step.padded("retain") is first
    assert len(seen) == 1
    torch.testing.assert_close(step.reference_padded("retain").logits, first.logits)
    torch.testing.assert_close(step.reference_logits("retain"), second.logits)
    with pytest.raises(MethodError, match="padded lists retain"):
        step.padded("forget")


def test_kl_over_every_place_is_plain_torch(start_model: Path, batch: Batch) -> None:
    """Trained weights against start weights, through transformers and torch's own divergence."""
    model, start = (load_model(str(start_model), device="cpu").eval() for _ in range(2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.05)
    tokenizer, method = load_tokenizer(str(start_model)), build("kl_min", {"compat": "open-unlearning"})
    module = SupervisedLM(model)
    run = Run(
        needs=method.needs(), steps=8, seed=0, device=CPU, tokenizer=tokenizer, forward=module.outputs,
        frozen=FrozenModel(start),
    )  # fmt: skip
    term = method.terms(MicroStep(run, 0, batch, joint=False))[1]
    packed, _ = pack_padded("retain", batch["retain"], int(str(tokenizer.pad_token_id)), CPU)
    rows = {"input_ids": packed.input_ids, "attention_mask": packed.attention_mask}
    now, before = (F.log_softmax(one(**rows).logits.flatten(0, 1), -1) for one in (model, start))
    expected = F.kl_div(now, before, log_target=True, reduction="batchmean")
    torch.testing.assert_close(term.total, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("npo", {"compat": "gao"}),
        ("npo", {"compat": "unlearn-smooth-muse"}),
        ("graddiff", {"compat": "open-unlearning", "retain": "kl"}),
        ("pdu", {"compat": "open-unlearning"}),
        ("rmu", {"compat": "wmdp"}),
        ("rmu", {"compat": "open-unlearning"}),
        ("npo+sam", {"compat": "open-unlearning", "retain": "kl"}),
    ],
)
def test_trainings_follow_a_project(
    make_job: JobMaker, benchmark: Benchmark, method: str, params: dict[str, Any]
) -> None:
    job = make_job(method, params, max_steps=2, micro_batch_size=2)
    outcome = TrainOutcome.model_validate(run_worker(job, benchmark=benchmark))
    assert outcome.steps == 2
    assert outcome.weights_finite
    assert outcome.conventions["normalise"] == "micro"
    for view in ("forget", "retain"):
        assert outcome.conventions[view] == f"mean over {view} in each micro-batch, then over micro-batches"


def test_means_are_taken_over_micro_batches(make_job: JobMaker, benchmark: Benchmark) -> None:
    """Five rows in micro-batches of two: the mean of three means, not the mean over the batch."""
    job = make_job("graddiff", {"compat": "jensun"}, max_steps=1, micro_batch_size=2)
    outcome = TrainOutcome.model_validate(run_worker(job, benchmark=benchmark))
    tokenizer = load_tokenizer(job["start_model"])
    views = Views(
        benchmark, Encoder(tokenizer, benchmark.template, 512), ("forget", "retain"), train_groups=("forget",), seed=3
    )
    module = SupervisedLM(load_model(job["start_model"], device="cpu"))
    rows = views.batch(views.plan(5), 0)["retain"]
    means = []
    for part in (rows[:2], rows[2:4], rows[4:]):
        packed = pack({"retain": part}, CPU)
        batch = packed.supervised("retain", module.outputs(packed))
        means.append(F.cross_entropy(batch.logits, batch.targets).item())
    assert outcome.curve[0]["retain"] == pytest.approx(sum(means) / 3, rel=1e-5)
