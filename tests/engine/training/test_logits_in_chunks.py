"""Training that never holds [N, V] whole. Oracle: the same job with whole logits; a class's own logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from tests.engine.training.test_backends import furthest, run_on_ranks, weights
from tests.engine.training.test_forward import CPU, gemma2_with_soft_caps, gpt2, llama, made_up_items, tied_by_hand
from tests.engine.training.test_wrapped_methods import PAIRS, PARAMS
from tests.support.architectures import CLASSES, small_benchmark, small_model
from unlearn_sweep.engine.models.start_model import train_tokenizer
from unlearn_sweep.engine.training.forward import SupervisedLM, pack
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.methods import logit_sizes, row_chunks
from unlearn_sweep.methods.catalog import METHODS
from unlearn_sweep.methods.chunked_logits import ChunkedLogits
from unlearn_sweep.methods.logit_sizes import Logits
from unlearn_sweep.methods.token_losses import token_nll

JobMaker = Callable[..., dict[str, Any]]
CHUNKS, WHOLE = {"logits": "chunks"}, {"logits": "whole"}
ZERO_3 = {"backend": "deepspeed", "zero_stage": 3}
LORA = {"rank": 2, "alpha": 8.0, "dropout": 0.0, "targets": "all"}
ROWS = 3


@pytest.fixture(autouse=True)
def _three_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of about three rows of the made-up vocabulary."""
    monkeypatch.setattr(row_chunks, "CHUNK_ENTRIES", ROWS * 300)


KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "live reference": ("npo", {"retain": "kl"}, {}),
    "four passes of the start model": ("elm", {"eta": 5.0}, {}),
    "teacher": ("whp", {}, {}),
    "adversary": ("npo+lat", {"lat_steps": 2}, {}),
    "gradients apart": ("graddiff+surgery", {"retain": "jsd"}, {}),
    "moved weights": ("npo+sam", {"sam_rho": 0.05}, {}),
    "squared term": ("npo+irm", {}, {}),
    "collapse": ("npo+cir", {}, {}),
    "adapters": ("npo", {"retain": "kl"}, {"lora": LORA}),
    "as published, every place": ("undial", {"compat": "open-unlearning"}, {}),
    "raw logits": ("npo", {"compat": "unlearn-smooth-muse"}, {}),
    "micro-batches": ("simnpo", {}, {"micro_batch_size": 2}),
    "drawn targets": ("graddiff", {}, {"optimizer": "sophia"}),
    "no gradients": ("graddiff", {}, {"optimizer": "zeroth_order"}),
}


def both(make_job: JobMaker, benchmark: Benchmark, method: str, params: dict[str, Any], **values: Any) -> float:
    """Train with whole and with chunked logits; the largest difference of a weight. The whole one has moved."""
    whole, chunked = (make_job(method, params, **values, **kind) for kind in (WHOLE, CHUNKS))
    outcomes = [run_worker(job, benchmark=benchmark) for job in (whole, chunked)]
    assert furthest(weights(whole), load_file(Path(whole["start_model"]) / "model.safetensors")) > 1e-6
    assert outcomes[0]["terms"] == pytest.approx(outcomes[1]["terms"], rel=1e-3, abs=1e-6)
    return furthest(weights(whole), weights(chunked))


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_train_as_whole_logits(make_job: JobMaker, benchmark: Benchmark, kind: str) -> None:
    method, params, values = KINDS[kind]
    divides = "optimizer" in values  # by a curvature, or by the length of a small move: rounding grows
    assert both(make_job, benchmark, method, params, **values) < (1e-5 if divides else 1e-6)


def test_no_loss_sees_more_than_a_chunk(
    make_job: JobMaker, benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: the shapes that every product with the head has."""
    seen: list[int] = []
    product = row_chunks._Weights.product

    def watched(self: Any, head: Any, hidden: Tensor) -> Tensor:
        seen.append(len(hidden))
        return product(self, head, hidden)

    monkeypatch.setattr(row_chunks._Weights, "product", watched)
    run_worker(make_job("undial", {"retain": "nll"}, **CHUNKS), benchmark=benchmark)
    assert 0 < max(seen) <= ROWS
    assert len(seen) > 50


GENTLE: dict[str, dict[str, Any]] = {"elm": {"eta": 5.0}}
"""By default `elm` takes log-probabilities times 1000, and their rounding with them."""


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_in_chunks_as_whole(make_job: JobMaker, benchmark: Benchmark, method: str) -> None:
    assert both(make_job, benchmark, method, GENTLE.get(method, PARAMS.get(method, {}))) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("method", "wrapper"), PAIRS, ids=["+".join(pair) for pair in PAIRS])
def test_every_wrapped_method_trains_in_chunks_as_whole(
    make_job: JobMaker, benchmark: Benchmark, method: str, wrapper: str
) -> None:
    params = GENTLE.get(method, PARAMS.get(method, {})) | PARAMS.get(wrapper, {})
    assert both(make_job, benchmark, f"{method}+{wrapper}", params, max_steps=2) < 1e-6


@pytest.mark.parametrize("kind", ["live reference", "adapters", "gradients apart", "adversary", "teacher"])
def test_sharded_by_zero(make_job: JobMaker, benchmark: Benchmark, kind: str) -> None:
    method, params, values = KINDS[kind]
    whole, chunked = make_job(method, params, **values, **WHOLE), make_job(method, params, **values, **CHUNKS, **ZERO_3)
    for job in (whole, chunked):
        run_worker(job, benchmark=benchmark)
    assert furthest(weights(whole), weights(chunked)) < 1e-6


@pytest.mark.timeout(300)
def test_two_ranks_are_one(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    """5 rows a step on two ranks, DistributedDataParallel and ZeRO stage 2 and 3. A rank has other tokens than the
    other, so that chunks differ in number."""
    kinds = {
        "torch": ("npo", {"retain": "kl"}, {}),
        "zero 2": ("npo", {"retain": "kl"}, {"backend": "deepspeed", "zero_stage": 2}),
        "zero 3": ("npo", {"retain": "kl"}, ZERO_3),
        "zero 3, grouped": ("graddiff+surgery", {"retain": "jsd"}, ZERO_3),
    }
    alone = {name: make_job(method, params, **WHOLE) for name, (method, params, _) in kinds.items()}
    shared = {name: make_job(method, params, **CHUNKS, **more) for name, (method, params, more) in kinds.items()}
    for job in alone.values():
        run_worker(job, benchmark=benchmark)
    run_on_ranks(shared, benchmark, tmp_path / "ranks")
    for name in kinds:
        assert furthest(weights(alone[name]), weights(shared[name])) < 1e-6, name


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_gives_its_own_logits(name: str, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = train_tokenizer(small_benchmark().tokenizer_texts, vocab_size=200)
    packed, model = pack({"forget": made_up_items(5)}, CPU), small_model(name, tokenizer)
    whole = SupervisedLM(model, logits="whole").outputs(packed).logits
    chunked = SupervisedLM(model, logits="chunks").outputs(packed).logits
    assert isinstance(chunked, ChunkedLogits)
    assert "computed whole" not in caplog.text
    torch.testing.assert_close(chunked + 0, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [llama, gpt2, gemma2_with_soft_caps])
def test_gradients_of_all_weights(make: Callable[[], PreTrainedModel]) -> None:
    model, packed = make().eval(), pack({"forget": made_up_items(5)}, CPU)

    def gradients(kind: Logits) -> list[Tensor]:
        batch = packed.supervised("forget", SupervisedLM(model, logits=kind).outputs(packed))
        loss = token_nll(batch.logits, batch.targets).square().sum()
        return list(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))

    for one, other in zip(gradients("whole"), gradients("chunks"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_head_that_does_more_than_is_known_is_computed_whole(caplog: pytest.LogCaptureFixture) -> None:
    model: Any = llama()
    plain = model.forward

    def forward(**options: Any) -> Any:
        out = plain(**options)
        out.logits = out.logits + out.logits**3
        return out

    model.forward = forward
    packed = pack({"forget": made_up_items(5)}, CPU)
    expected = SupervisedLM(model, logits="whole").outputs(packed).logits
    found = SupervisedLM(model, logits="chunks").outputs(packed).logits
    assert not isinstance(found, ChunkedLogits)
    assert "computed whole" in caplog.text
    torch.testing.assert_close(found, expected)


def test_a_model_that_does_not_call_its_head_is_computed_whole() -> None:
    found = SupervisedLM(tied_by_hand(), logits="chunks").outputs(pack({"forget": made_up_items(5)}, CPU)).logits
    assert not isinstance(found, ChunkedLogits)


def test_auto_goes_by_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, module = pack({"forget": made_up_items(5)}, CPU), SupervisedLM(llama())
    entries = len(packed.positions) * 64
    assert not isinstance(module.outputs(packed).logits, ChunkedLogits)
    monkeypatch.setattr(logit_sizes, "HELD_ENTRIES", entries - 1)
    assert isinstance(module.outputs(packed).logits, ChunkedLogits)


def test_the_setting_is_in_no_key() -> None:
    plain, chunked = TrainingSettings(), TrainingSettings(logits="chunks")
    assert plain.identity() == chunked.identity()
