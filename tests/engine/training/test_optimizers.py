"""Optimizers. Oracles: numbers worked out by hand, the formulas in plain Python, and training in one go, to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from tests.engine.training.test_backends import furthest, run_on_ranks, weights
from tests.engine.training.test_checkpoint import check_taken_up
from unlearn_sweep.engine.optimizers.catalog import OPTIMIZERS, SECTIONS, OptimizerName
from unlearn_sweep.engine.optimizers.lion import Lion, LionSettings
from unlearn_sweep.engine.optimizers.rule import Rule
from unlearn_sweep.engine.optimizers.sign_sgd import SignSgd, SignSgdSettings
from unlearn_sweep.engine.optimizers.sophia import Sophia, SophiaSettings
from unlearn_sweep.engine.optimizers.zeroth_order import slope
from unlearn_sweep.engine.training.assembly import assemble, with_retain_rows
from unlearn_sweep.engine.training.cache import DataCache
from unlearn_sweep.engine.training.curvature import sampled_curvature
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.optimizer import RuleOptimizer
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.training.state import Totals
from unlearn_sweep.engine.training.torch_backend import TorchBackend
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

JobMaker = Callable[..., dict[str, Any]]
WITH_GRADIENTS = ("lion", "sign_sgd", "sophia")


def moved(rule: Rule, gradients: list[list[float]], curvature: list[list[float]] | None = None) -> Tensor:
    """A weight of [1, -2] after these gradients, at rate 0.1 and decay 0.5."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = RuleOptimizer([{"params": [weight], "weight_decay": 0.5}], rule, lr=0.1)
    for number, gradient in enumerate(gradients):
        weight.grad = torch.tensor(gradient)
        if curvature is not None:
            optimizer.estimate([weight], [torch.tensor(curvature[number])])
        optimizer.step()
    return weight.detach()


def test_lion_by_hand() -> None:
    """Step 1: m = 0, so the sign of g. Step 2: m = (.1, -.2), .9 m + .1 g = (.09 - .2, -.18 + .1), signs (-, -)."""
    rule = Lion(LionSettings(beta1=0.9, beta2=0.9))
    first = [1.0 * 0.95 - 0.1, -2.0 * 0.95 + 0.1]
    assert moved(rule, [[1.0, -2.0]]).tolist() == pytest.approx(first)
    second = [first[0] * 0.95 + 0.1, first[1] * 0.95 + 0.1]
    assert moved(rule, [[1.0, -2.0], [-2.0, 1.0]]).tolist() == pytest.approx(second)


def test_sign_sgd_by_hand() -> None:
    """Without momentum the last sign counts; with 0.9, (.09 - .2, -.18 + .1) has other signs than the second."""
    gradients = [[1.0, -2.0], [-0.5, 1.0]]
    first = [0.85, -1.8]
    assert moved(SignSgd(SignSgdSettings()), gradients).tolist() == pytest.approx(
        [first[0] * 0.95 + 0.1, first[1] * 0.95 - 0.1]
    )
    assert moved(SignSgd(SignSgdSettings(momentum=0.9)), gradients).tolist() == pytest.approx(
        [first[0] * 0.95 - 0.1, first[1] * 0.95 + 0.1]
    )


def test_sophia_by_hand() -> None:
    """m = .1 g = (.1, -.2), h = .5 (4, 400) = (2, 200): .1/(.5 * 2) = .1 and -.2/(.5 * 200) = -.002, below 1.

    With h = 0 both are clipped to 1 and -1.
    """
    rule = Sophia(SophiaSettings(beta1=0.9, beta2=0.5, gamma=0.5, every=1))
    assert moved(rule, [[1.0, -2.0]], [[4.0, 400.0]]).tolist() == pytest.approx([0.95 - 0.01, -1.9 + 0.0002])
    assert moved(rule, [[1.0, -2.0]]).tolist() == pytest.approx([0.85, -1.8])
    own = Sophia(SophiaSettings(beta1=0.0, beta2=0.0, gamma=1.0, every=2, curvature="gradient"))
    # h = g^2 = (4, .25) at step 1 and stays at step 2: 2/4, .5/.25 clipped; then 1/4, -.25/.25
    found = moved(own, [[2.0, 0.5], [1.0, -0.25]]).tolist()
    first = [0.95 - 0.05, -1.9 - 0.1]
    assert found == pytest.approx([first[0] * 0.95 - 0.025, first[1] * 0.95 + 0.1])


def test_the_slope_is_that_of_a_parabola() -> None:
    assert slope(3.0**2, 1.0**2, 1.0) == 4.0  # x^2 at 2, exactly


def test_catalog_and_settings_name_the_same() -> None:
    assert tuple(OPTIMIZERS) == get_args(OptimizerName)
    assert set(SECTIONS) < set(TrainingSettings.model_fields)
    rules = {"lion": Lion(LionSettings()), "sophia": Sophia(SophiaSettings())}
    rules["sign_sgd"] = SignSgd(SignSgdSettings(momentum=0.9))
    assert {name: len(rule.states) for name, rule in rules.items()} == {name: OPTIMIZERS[name].states for name in rules}


def test_what_an_optimizer_does_not_use_is_no_part_of_the_weights() -> None:
    """AdamW's identity is what it was before there were others."""
    plain = TrainingSettings()
    assert plain.identity() == TrainingSettings.model_validate({"lion": {"beta1": 0.5}}).identity()
    assert not {"optimizer", *SECTIONS} & plain.identity().keys()
    lion = TrainingSettings.model_validate({"optimizer": "lion"})
    assert lion.identity() == lion.model_copy(update={"betas": (0.5, 0.5)}).identity()
    assert lion.identity() != TrainingSettings.model_validate({"optimizer": "lion", "lion": {"beta1": 0.5}}).identity()


@pytest.mark.parametrize("values", [{"optimizer": "zeroth_order"}, {"optimizer": "sophia"}])
def test_what_deepspeed_cannot_do_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"zeroth_order makes no gradients|needs a second gradient"):
        TrainingSettings.model_validate({"backend": "deepspeed", "workers": 1, **values})


@pytest.mark.parametrize(
    ("method", "values"), [("npo+sam", {"optimizer": "zeroth_order"}), ("rmu", {"optimizer": "sophia"})]
)
def test_what_a_method_cannot_have_is_refused(
    make_job: JobMaker, benchmark: Benchmark, method: str, values: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"zeroth_order makes none|curvature: gradient"):
        run_worker(make_job(method, **values), benchmark=benchmark)


@pytest.mark.parametrize("name", [*WITH_GRADIENTS, "zeroth_order"])
def test_taken_up_again_to_the_bit(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    values = {"optimizer": name, "sophia": {"every": 2}, "sign_sgd": {"momentum": 0.5}}
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.2, "targets": "all"} if name == "zeroth_order" else None
    check_taken_up(make_job, benchmark, tmp_path / "partial", monkeypatch, "npo", {}, {**values, "lora": lora})


@pytest.mark.parametrize("name", WITH_GRADIENTS)
def test_micro_batches_change_nothing(make_job: JobMaker, benchmark: Benchmark, name: str) -> None:
    """Signs of tiny gradients may flip with rounding, so all but a few entries agree."""
    whole, parts = (make_job("npo", optimizer=name, micro_batch_size=size) for size in (None, 2))
    for job in (whole, parts):
        run_worker(job, benchmark=benchmark)
    differing = [(weights(whole)[key] - value).abs() > 1e-6 for key, value in weights(parts).items()]
    assert sum(int(part.sum()) for part in differing) < 0.01 * sum(part.numel() for part in differing)


def test_zeroth_order_finds_the_gradients_direction(make_job: JobMaker, benchmark: Benchmark) -> None:
    """Over many directions, the mean of slope times direction points where the gradient does.

    Oracle: one step of sign-free descent by autograd, which AdamW with a huge epsilon takes: g / epsilon.
    """
    start = make_job("finetune", optimizer="zeroth_order", max_steps=1, weight_decay=0.0, learning_rate=1e-12)
    small = {"max_steps": 1, "weight_decay": 0.0}
    exact = make_job("npo", learning_rate=1e-1, adam_epsilon=1e3, **small)
    estimated = make_job("npo", optimizer="zeroth_order", learning_rate=1e-4, zeroth_order={"directions": 300}, **small)
    for job in (start, exact, estimated):
        run_worker(job, benchmark=benchmark)
    before = weights(start)
    steps = [
        torch.cat([(weights(job)[name] - before[name]).flatten() for name in before]) for job in (exact, estimated)
    ]
    cosine = float(nn.functional.cosine_similarity(*steps, dim=0))
    # d directions in p dimensions have an expected cosine of about sqrt(d / (d + p))
    assert cosine == pytest.approx(math.sqrt(300 / (300 + steps[0].numel())), rel=0.35)
    ratio = float(steps[1] @ steps[0] / (steps[0] @ steps[0]))
    assert ratio == pytest.approx(1.0, rel=0.35)


def test_curvature_is_the_fisher_information(make_job: JobMaker, even_benchmark: Benchmark) -> None:
    """The mean of many draws, for the last norm's weight w.

    Oracle: logits are (x * w) E', so the diagonal of the Fisher information is x_j^2 times the variance of E_vj over v
    as the model draws it, averaged over the tokens.
    """
    job = TrainJob.from_json(make_job("npo", optimizer="sophia", global_batch_size=6, max_steps=200))
    training = assemble(job, even_benchmark, DataCache()).training
    backend, inputs = training.backend, list[Tensor]()
    assert isinstance(backend, TorchBackend)
    head = backend.module.model.eval().get_output_embeddings()
    assert head is not None
    hook = head.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    sampled_curvature(training, 0, Totals({}, None))
    hook.remove()
    embedding, norm = head.weight.detach(), backend.parameters[-1].detach()
    states = torch.cat([given.reshape(-1, 32) for given in inputs])  # the head runs at supervised places only
    chances = (states @ embedding.T).softmax(-1)
    spread = chances @ embedding.square() - (chances @ embedding).square()
    expected = ((states / norm).square() * spread).mean(0)
    draws = [sampled_curvature(training, index, Totals({}, None))[-1] for index in range(200)]
    found = torch.stack(draws).mean(0)
    assert found.shape == expected.shape
    assert float(found.sum() / expected.sum()) == pytest.approx(1.0, rel=0.15)
    training.close()


def test_retain_rows_are_drawn_once_for_a_training(make_job: JobMaker, benchmark: Benchmark) -> None:
    """Oracle: the same training on a benchmark that has no other retain rows, to the bit."""
    job = make_job("graddiff", retain_rows=4)
    kept = with_retain_rows(benchmark, TrainJob.from_json(job))
    rows = [row.row_id for row in kept.train["retain"]]
    assert len(rows) == 4
    assert set(rows) < {row.row_id for row in benchmark.train["retain"]}
    other = with_retain_rows(benchmark, TrainJob.from_json(job | {"seed": 4}))
    assert rows != [row.row_id for row in other.train["retain"]]
    assert kept.train["forget"] == benchmark.train["forget"]
    whole, fewer = make_job("graddiff"), make_job("graddiff")
    for one, data in ((job, benchmark), (fewer, kept), (whole, benchmark)):
        run_worker(one, benchmark=data)
    assert furthest(weights(job), weights(fewer)) == 0.0
    assert furthest(weights(job), weights(whole)) > 1e-5


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_zero_stages_are_one_process(make_job: JobMaker, benchmark: Benchmark, tmp_path: Path) -> None:
    values = {name: {"optimizer": name, "sophia": {"curvature": "gradient"}} for name in WITH_GRADIENTS}
    alone = {name: make_job("npo", {"retain": "kl"}, **values[name]) for name in values}
    for job in alone.values():
        run_worker(job, benchmark=benchmark)
    jobs = {
        f"{name}, {stage}": make_job("npo", {"retain": "kl"}, backend="deepspeed", zero_stage=stage, **values[name])
        for name in values
        for stage in range(4)
    }
    jobs |= {f"{name}, ddp": make_job("npo", {"retain": "kl"}, **values[name]) for name in values}
    run_on_ranks(jobs, benchmark, tmp_path / "ranks")
    for name, job in jobs.items():
        expected, found = weights(alone[name.split(",")[0]]), weights(job)
        wrong = sum(int(((expected[key] - found[key]).abs() > 1e-6).sum()) for key in expected)
        assert wrong < 0.01 * sum(value.numel() for value in expected.values()), name
