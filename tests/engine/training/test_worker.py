"""One training from job to model folder. Oracles: plain PyTorch loops written out here, and the same job run twice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.state import TrainProgress
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.rows import Row, encode
from unlearn_sweep.methods.catalog import METHODS
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.token_losses import token_nll

JobMaker = Callable[..., dict[str, Any]]
Losses = Callable[[Tensor], Tensor]


def weights(job: dict[str, Any]) -> dict[str, Tensor]:
    return load_file(Path(job["output_dir"]) / "model.safetensors")


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)


def train(job: dict[str, Any], benchmark: Benchmark, **options: Any) -> TrainOutcome:
    return TrainOutcome.model_validate(run_worker(job, benchmark=benchmark, **options))


def sequence_losses(model: PreTrainedModel, rows: Sequence[Row], benchmark: Benchmark, folder: str) -> Tensor:
    """Negative log-likelihood of each row's answer, [rows]: padded batch, attention mask, full logits."""
    examples = [encode(load_tokenizer(folder), "", row.question, row.answer, benchmark.template) for row in rows]
    width = max(len(example.prompt_ids) + len(example.answer_ids) for example in examples)
    ids, labels = torch.zeros(len(rows), width, dtype=torch.long), torch.full((len(rows), width), -100)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for number, example in enumerate(examples):
        prompt, whole = len(example.prompt_ids), len(example.prompt_ids) + len(example.answer_ids)
        ids[number, :whole] = torch.tensor([*example.prompt_ids, *example.answer_ids])
        labels[number, prompt:whole] = ids[number, prompt:whole]
        mask[number, :whole] = 1
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    losses = F.cross_entropy(logits.transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none")
    return losses.sum(1)


def answer_tokens(rows: Sequence[Row], benchmark: Benchmark, folder: str) -> int:
    tokenizer = load_tokenizer(folder)
    examples = [encode(tokenizer, "", row.question, row.answer, benchmark.template) for row in rows]
    return sum(len(example.answer_ids) for example in examples)


def plain_training(
    job: dict[str, Any], loss: Callable[[PreTrainedModel], Tensor], rates: Sequence[float]
) -> dict[str, Tensor]:
    """The oracle: AdamW at these learning rates, no decay of norm scales."""
    model = load_model(job["start_model"], device="cpu").train()
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    scales = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": scales, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, eps=job["training"]["adam_epsilon"])
    for rate in rates:
        optimizer.zero_grad()
        loss(model).backward()
        if (most := job["training"]["gradient_clip"]) is not None:
            assert torch.nn.utils.clip_grad_norm_(model.parameters(), most) > most
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    return {name: value.detach() for name, value in model.state_dict().items() if name != "lm_head.weight"}


def test_finetune_is_a_plain_loop(make_job: JobMaker, even_benchmark: Benchmark) -> None:
    job = make_job("finetune", global_batch_size=12)
    rows = (*even_benchmark.train["forget"], *even_benchmark.train["retain"])
    tokens = answer_tokens(rows, even_benchmark, job["start_model"])

    def loss(model: PreTrainedModel) -> Tensor:
        return sequence_losses(model, rows, even_benchmark, job["start_model"]).sum() / tokens

    outcome = train(job, even_benchmark)
    expected = plain_training(job, loss, rates=[1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
    start = load_model(job["start_model"], device="cpu")
    assert furthest(weights(job), expected) < 1e-6
    assert furthest(weights(job), load_file(Path(job["start_model"]) / "model.safetensors")) > 1e-3
    assert outcome.curve[0]["train"] == pytest.approx(loss(start).item(), rel=1e-5)
    assert (outcome.steps, outcome.epochs, outcome.mean_answer_tokens) == (4, 4.0, tokens / 12)


def test_npo_is_a_plain_loop(make_job: JobMaker, even_benchmark: Benchmark) -> None:
    job = make_job("npo", {"beta": 0.5}, global_batch_size=6, micro_batch_size=4, gradient_clip=0.5)
    forget, retain = even_benchmark.train["forget"], even_benchmark.train["retain"]
    tokens = answer_tokens(retain, even_benchmark, job["start_model"])
    start = load_model(job["start_model"], device="cpu")
    reference = sequence_losses(start, forget, even_benchmark, job["start_model"]).detach()

    def loss(model: PreTrainedModel) -> Tensor:
        margin = sequence_losses(model, forget, even_benchmark, job["start_model"]) - reference
        unlearn = -(2 / 0.5) * F.logsigmoid(0.5 * margin).mean()
        return unlearn + sequence_losses(model, retain, even_benchmark, job["start_model"]).sum() / tokens

    train(job, even_benchmark)
    assert furthest(weights(job), plain_training(job, loss, rates=[1e-3, 0.75e-3, 0.5e-3, 0.25e-3])) < 1e-6


@pytest.mark.parametrize("method", [*METHODS, "finetune"])
def test_micro_batches_are_the_whole_batch(make_job: JobMaker, benchmark: Benchmark, method: str) -> None:
    """Every method of the catalog at its defaults; one epoch, the last batch of a single row."""
    # Taking out a small part once moves almost nothing; these rows have no written answers.
    params = {"rab": {"steering": 50.0}, "re_learn": {"answers": "refusals"}}.get(method, {})
    whole, split = make_job(method, params, epochs=1.0), make_job(method, params, epochs=1.0, micro_batch_size=2)
    a, b = train(whole, benchmark), train(split, benchmark)
    assert furthest(weights(whole), load_file(Path(whole["start_model"]) / "model.safetensors")) > 1e-5
    assert furthest(weights(whole), weights(split)) < 1e-6
    assert a.terms == pytest.approx(b.terms, rel=1e-4, abs=1e-6)
    assert (a.tokens, a.stopped_early) == (b.tokens, None)


def test_cached_and_live_reference_agree(make_job: JobMaker, benchmark: Benchmark) -> None:
    """NPO with a retain term that keeps the start model at hand, at weight so small that it changes nothing visible."""
    cached = make_job("npo", {"retain": "none"})
    live = make_job("npo", {"retain": "kl", "retain_weight": 1e-12})
    train(cached, benchmark)
    train(live, benchmark)
    assert furthest(weights(cached), weights(live)) < 1e-6


def test_same_job_same_bits(make_job: JobMaker, benchmark: Benchmark) -> None:
    first, second, other = make_job(), make_job(), make_job(seed=4)
    outcomes = [train(job, benchmark) for job in (first, second, other)]
    assert furthest(weights(first), weights(second)) == 0
    assert furthest(weights(first), weights(other)) > 0
    assert outcomes[0].curve == outcomes[1].curve


def test_activation_checkpointing_changes_no_number(make_job: JobMaker, benchmark: Benchmark) -> None:
    plain, checkpointed = make_job(), make_job(activation_checkpointing=True)
    train(plain, benchmark)
    train(checkpointed, benchmark)
    assert furthest(weights(plain), weights(checkpointed)) == 0


def test_bfloat16_trains_float32_weights(make_job: JobMaker, benchmark: Benchmark) -> None:
    """A learning rate whose steps bfloat16 weights would swallow; exported in bfloat16 all the same."""
    job = make_job("finetune", dtype="bfloat16", learning_rate=2e-4, max_steps=12, decay="constant", adam_epsilon=1e-8)
    outcome = train(job, benchmark)
    start = load_file(Path(job["start_model"]) / "model.safetensors")
    trained = weights(job)
    scale = next(name for name in trained if "input_layernorm" in name)
    assert trained[scale].dtype == torch.bfloat16
    assert outcome.dtype == "bfloat16"
    # norm scales start at 1, where bfloat16 values lie 2^-8 below and 2^-7 above: twelve steps of 2e-4 add up to one
    assert not trained[scale].float().equal(start[scale])


def test_the_outcome_says_what_was_done(make_job: JobMaker, benchmark: Benchmark) -> None:
    job = make_job("npo", epochs=1.5)
    outcome = train(job, benchmark)
    assert json.loads(json.dumps(outcome.model_dump(mode="json"))) == outcome.model_dump(mode="json")
    # 11 forget rows in batches of 5, 5, 1: an epoch is 3 steps, one and a half are 5
    assert (outcome.steps, outcome.planned_steps, outcome.epochs) == (5, 5, pytest.approx(5 / 3))
    assert [point["step"] for point in outcome.curve] == [1, 2, 3, 4, 5]
    assert set(outcome.terms) == {"forget", "retain", "forget_cross_entropy"}
    assert outcome.curve[0]["forget"] == pytest.approx(20 * np.log(2), rel=1e-5)
    assert (outcome.stopped_early, outcome.stop_reason, outcome.weights_finite) == (None, None, True)
    assert outcome.parameters == AutoModelForCausalLM.from_pretrained(job["output_dir"]).num_parameters()
    assert (outcome.world_size, outcome.backend, outcome.dtype) == (1, "torch", "float32")
    assert outcome.conventions["forget"] == "sum over forget / its sequences in the global batch"
    assert outcome.conventions["epoch"] == "one pass over view forget"


def test_the_folder_is_a_model_folder(make_job: JobMaker, benchmark: Benchmark) -> None:
    job = make_job()
    train(job, benchmark)
    model, tokenizer = load_model(job["output_dir"], device="cpu"), load_tokenizer(job["output_dir"])
    assert model(input_ids=torch.tensor([tokenizer.encode("red blue")])).logits.isfinite().all()
    names = {path.name for path in Path(job["output_dir"]).iterdir()}
    assert names == {path.name for path in Path(job["start_model"]).iterdir()}


@dataclass(frozen=True)
class Spoiled:
    """Plain descent on the forget answers; from a step on, its loss is what `value` says."""

    value: float
    at: int = 2

    def needs(self) -> Needs:
        return Needs(views=("forget",))

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        factor = self.value if step.index >= self.at else 1.0
        total = token_nll(batch.logits, batch.targets).sum() * factor
        return (Term(name="forget", total=total, view="forget", per="token"),)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_training(make_job: JobMaker, benchmark: Benchmark, value: float) -> None:
    job = make_job(max_steps=9)
    outcome = train(job, benchmark, method=Spoiled(value))
    assert (outcome.stopped_early, outcome.steps, outcome.planned_steps) == ("diverged", 3, 9)
    assert outcome.stop_reason == f"forget is {value} at step 3"
    assert outcome.terms["forget"] is None
    assert not outcome.weights_finite
    assert (Path(job["output_dir"]) / "model.safetensors").is_file()


def test_ascent_past_the_cap_ends_the_training(make_job: JobMaker, benchmark: Benchmark) -> None:
    job = make_job("grad_ascent", learning_rate=2e-2, max_steps=40, loss_cap=8.0)
    outcome = train(job, benchmark)
    assert outcome.stopped_early == "diverged"
    assert outcome.stop_reason is not None
    assert outcome.stop_reason.startswith("forget_cross_entropy is ")
    assert outcome.stop_reason.endswith("above the cap of 8.00")
    assert outcome.steps < 40
    assert outcome.weights_finite


def test_the_method_keeps_its_state(make_job: JobMaker, benchmark: Benchmark) -> None:
    """PDU's dual variable grows with the retain loss, so it must differ from the same loss without updates."""
    moving = make_job("pdu", {"dual_warmup": 0.0, "dual_start": 0.1})
    resting = make_job("pdu", {"dual_warmup": 1.0, "dual_start": 0.1})
    train(moving, benchmark)
    train(resting, benchmark)
    assert furthest(weights(moving), weights(resting)) > 1e-4


def seed_everything() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def test_nothing_is_left_behind(make_job: JobMaker, benchmark: Benchmark) -> None:
    seed_everything()
    expected = (random.random(), np.random.rand(), float(torch.rand(1)))
    seed_everything()
    torch.set_num_threads(2)
    try:
        train(make_job(threads=1), benchmark)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert (random.random(), np.random.rand(), float(torch.rand(1))) == expected
    assert not torch.distributed.is_initialized()


def test_a_failure_leaves_no_folder(make_job: JobMaker, benchmark: Benchmark) -> None:
    job = make_job()

    @dataclass(frozen=True)
    class Careless(Spoiled):
        def terms(self, step: Step) -> tuple[Term, ...]:
            step.forward("retain")
            return ()

    with pytest.raises(RuntimeError, match="view 'retain' was asked for"):
        run_worker(job, benchmark=benchmark, method=Careless(1.0))
    assert list(Path(job["output_dir"]).parent.iterdir()) == []


def test_a_folder_in_the_way_is_not_touched(make_job: JobMaker, benchmark: Benchmark) -> None:
    job = make_job()
    Path(job["output_dir"]).mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        run_worker(job, benchmark=benchmark)


@dataclass(frozen=True)
class Demanding:
    asks: Needs

    def needs(self) -> Needs:
        return self.asks

    def terms(self, step: Step) -> tuple[Term, ...]:
        return ()


@pytest.mark.parametrize(
    ("asks", "message"),
    [
        (Needs(reference="hidden", reference_views=("forget",)), "works on hidden states but declares no layers"),
        (Needs(views=("forget",), reference="logits", reference_views=("retain",)), "does not read: retain"),
    ],
)
def test_what_this_trainer_cannot_give_is_refused(
    make_job: JobMaker, benchmark: Benchmark, asks: Needs, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_worker(make_job(), benchmark=benchmark, method=Demanding(asks))


def test_progress_is_told(make_job: JobMaker, benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearn_sweep.engine.training.loop.PROGRESS_EVERY_S", 0.0)
    told: list[TrainProgress] = []
    train(make_job(), benchmark, on_progress=told.append)
    assert [(progress.step, progress.steps) for progress in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert "forget_cross_entropy" in told[-1].values


def test_the_catalog_benchmark_is_loaded_once(make_job: JobMaker) -> None:
    from unlearn_sweep.engine.training import worker

    authors = {"name": "authors", "params": {"authors": 4, "forget_authors": 2}}
    job = make_job("finetune", max_steps=1, benchmark=authors)
    run_worker(job)
    benchmark = worker._DATA.benchmark(worker.TrainJob.from_json(job).benchmark)
    run_worker(job | {"output_dir": job["output_dir"] + "-again"})
    assert worker._DATA.benchmark(worker.TrainJob.from_json(job).benchmark) is benchmark


def test_a_task_vector_is_the_training_turned_around(make_job: JobMaker, benchmark: Benchmark) -> None:
    """Oracle: the same training without the turn, and the start model."""
    whole = {"global_batch_size": 11}  # every row in every step: the order of rows says nothing
    trained, turned = (make_job("task_vector", {"strength": strength}, **whole) for strength in (0.0, 0.5))
    plain = make_job("finetune", train_groups=["forget"], **whole)
    for job in (trained, turned, plain):
        train(job, benchmark)
    start = load_file(Path(turned["start_model"]) / "model.safetensors")
    assert furthest(start, weights(trained)) == 0.0
    expected = {name: start[name] - 0.5 * (value - start[name]) for name, value in weights(plain).items()}
    assert furthest(expected, weights(turned)) < 1e-6
    assert furthest(start, weights(turned)) > 1e-4


@pytest.mark.parametrize("wrappers", ["", "+sam", "+rs", "+gnr", "+weight_avg", "+sam+weight_avg"])
def test_every_task_vector_forgets(make_job: JobMaker, benchmark: Benchmark, wrappers: str) -> None:
    """Oracle: the forget rows' own likelihood, by the evaluators' code, before and after."""
    params = {"average_start": 0.0, "average_decay": 0.5} if "weight_avg" in wrappers else {}
    job = make_job(f"task_vector{wrappers}", params, learning_rate=3e-3, max_steps=8, global_batch_size=11)
    train(job, benchmark)
    before, after = (forget_nll(folder, benchmark) for folder in (job["start_model"], job["output_dir"]))
    assert after > before + 0.05


def forget_nll(folder: str, benchmark: Benchmark) -> float:
    """Mean negative log-likelihood of a token of the forget answers, in nats."""
    examples = encode_rows(load_tokenizer(folder), benchmark.train["forget"], benchmark.template)
    scores = score(load_model(folder, device="cpu").eval(), examples, pad_id=0, batch_tokens=4096).scores
    return -float(np.concatenate([row.logp for row in scores]).mean())


def test_irm_over_another_task_adds_up_over_micro_batches(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path
) -> None:
    """Nine rows of the task a step beside five of the others: some micro-batches have rows of the task only."""
    path = tmp_path / "task.jsonl"
    rows = [{"question": row.answer, "answer": row.question} for row in benchmark.train["retain"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = {"irm_view": f"task:{path}", "irm_rows": 9, "irm_weight": 2.0}
    whole, split, plain = make_job("npo+irm", params), make_job("npo+irm", params, micro_batch_size=2), make_job("npo")
    outcomes = [train(job, benchmark) for job in (whole, split, plain)]
    assert furthest(weights(whole), weights(split)) < 1e-6
    assert furthest(weights(whole), weights(plain)) > 1e-5
    assert outcomes[0].tokens > outcomes[2].tokens
