"""A step as a method sees it. Oracles: counted forwards, one view at a time, and the start model itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.training.forward import Outputs, Packed, SupervisedLM
from unlearn_sweep.engine.training.loss import MethodError
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.reference import FrozenModel, ReferenceChangedError, sequence_nlls
from unlearn_sweep.engine.training.steps import MicroStep, Run, joint_is_cheap
from unlearn_sweep.engine.training.training_views import Encoder, Item, Views
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Example
from unlearn_sweep.methods.interface import Needs

CPU = torch.device("cpu")
Batch = dict[str, tuple[Item, ...]]
NAMES = ("forget", "forget_idk", "retain")


@pytest.fixture
def model(start_model: Path) -> PreTrainedModel:
    return load_model(str(start_model), device="cpu")


@pytest.fixture
def batch(benchmark: Benchmark, start_model: Path) -> dict[str, tuple[Item, ...]]:
    encoder = Encoder(load_tokenizer(str(start_model)), benchmark.template, 64)
    views = Views(benchmark, encoder, NAMES, train_groups=("forget",), seed=0)
    return views.batch(views.plan(4), 0)


class Forwards:
    """A model's forward that writes down what it was given."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.module = SupervisedLM(model)
        self.seen: list[tuple[str, ...]] = []

    def __call__(self, packed: Packed) -> Outputs:
        self.seen.append(tuple(packed.parts))
        return self.module.outputs(packed)


def make_run(
    start_model: Path, forward: Forwards, *, frozen: FrozenModel | None = None, needs: Needs | None = None
) -> Run:
    tokenizer = load_tokenizer(str(start_model))
    needs = needs or Needs(views=NAMES, reference="logits", reference_views=("forget",))
    return Run(needs=needs, steps=8, seed=0, device=CPU, tokenizer=tokenizer, forward=forward, frozen=frozen)


@pytest.mark.parametrize(("joint", "forwards"), [(True, [NAMES]), (False, [("retain",), ("forget",)])])
def test_each_forward_is_made_once(
    start_model: Path,
    model: PreTrainedModel,
    batch: Batch,
    joint: bool,
    forwards: Sequence[object],
) -> None:
    forward = Forwards(model)
    step = MicroStep(make_run(start_model, forward), 2, batch, joint=joint)
    first = [step.forward(view) for view in ("retain", "forget", "retain")]
    assert forward.seen == forwards
    assert first[0] is first[2]
    assert step.progress == 0.25


def test_joint_and_separate_forwards_agree(start_model: Path, model: PreTrainedModel, batch: Batch) -> None:
    run = make_run(start_model, Forwards(model))
    joint, separate = (MicroStep(run, 0, batch, joint=joint) for joint in (True, False))
    for view in NAMES:
        a, b = joint.forward(view), separate.forward(view)
        torch.testing.assert_close(a.logits, b.logits, rtol=1e-5, atol=1e-6)
        assert a.targets.equal(b.targets)
        assert a.sequence.equal(b.sequence)
    assert joint.tokens == separate.tokens


def test_reference_is_the_start_model(start_model: Path, model: PreTrainedModel, batch: Batch) -> None:
    step = MicroStep(make_run(start_model, Forwards(model), frozen=FrozenModel(model)), 0, batch, joint=False)
    torch.testing.assert_close(step.reference_logits("forget"), step.forward("forget").logits.detach())
    # Oracle: transformers' own mean loss of each row by itself, times its answer tokens
    expected = [row_loss(model, item.example).item() for item in batch["forget"]]
    assert step.reference_nll("forget").tolist() == pytest.approx(expected, rel=1e-5)
    cached = sequence_nlls(SupervisedLM(model), batch["forget"], Ranks(0, 1), CPU)
    assert [cached[item.key] for item in batch["forget"]] == pytest.approx(expected, rel=1e-5)


def row_loss(model: PreTrainedModel, example: Example) -> Tensor:
    ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
    labels = ids.clone()
    labels[0, : len(example.prompt_ids)] = -100
    return model(input_ids=ids, labels=labels).loss * len(example.answer_ids)


def test_a_likelihood_seen_before_needs_no_frozen_forward(
    start_model: Path, model: PreTrainedModel, batch: Batch
) -> None:
    frozen = FrozenModel(model)
    calls: list[int] = []
    frozen.module.register_forward_hook(lambda *_: calls.append(1))
    run = make_run(start_model, Forwards(model), frozen=frozen)
    values = [MicroStep(run, index, batch, joint=False).reference_nll("forget") for index in range(3)]
    assert len(calls) == 1
    assert values[0].equal(values[2])


def test_a_changed_reference_is_noticed(model: PreTrainedModel) -> None:
    frozen = FrozenModel(model)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    frozen.check_unchanged()
    with torch.no_grad():
        next(frozen.module.parameters()).add_(0)
    with pytest.raises(ReferenceChangedError, match="was written to"):
        frozen.check_unchanged()


def test_random_numbers_depend_on_seed_name_and_step(start_model: Path, model: PreTrainedModel) -> None:
    def draw(seed: int, name: str, index: int) -> float:
        run = make_run(start_model, Forwards(model))
        run.seed = seed
        return float(torch.rand(1, generator=MicroStep(run, index, {}, joint=False).generator(name)))

    assert draw(0, "noise", 0) == draw(0, "noise", 0)
    assert len({draw(0, "noise", 0), draw(1, "noise", 0), draw(0, "other", 0), draw(0, "noise", 1)}) == 4


def test_target_text_becomes_ids(start_model: Path, model: PreTrainedModel) -> None:
    step = MicroStep(make_run(start_model, Forwards(model)), 0, {}, joint=False)
    assert load_tokenizer(str(start_model)).decode(list(step.target_ids("red blue"))) == "red blue"
    with pytest.raises(MethodError, match="has no tokens"):
        step.target_ids("")


def test_what_was_not_declared_is_refused(start_model: Path, model: PreTrainedModel, batch: Batch) -> None:
    needs = Needs(views=("forget",), reference="sequence_nll", reference_views=("forget",))
    step = MicroStep(make_run(start_model, Forwards(model), needs=needs), 0, batch, joint=True)
    with pytest.raises(MethodError, match=r"view 'retain' was asked for, and needs\(\).views lists forget"):
        step.forward("retain")
    with pytest.raises(MethodError, match=r"view 'retain' was asked for, and needs\(\).reference_views lists forget"):
        step.reference_nll("retain")
    with pytest.raises(MethodError, match=r"needs\(\).reference is 'sequence_nll'"):
        step.reference_logits("forget")


@pytest.mark.parametrize(("lengths", "joint"), [((10, 10), True), ((10, 9), True), ((10, 5), False), ((0, 0), True)])
def test_views_of_like_length_go_together(lengths: tuple[int, int], joint: bool) -> None:
    # 20 places of 10 together against 10 + 5 apart is a third more
    batch = {view: tuple(items_of(length)) for view, length in zip(("a", "b"), lengths, strict=True)}
    assert joint_is_cheap(batch) is joint


def items_of(length: int) -> Iterator[Item]:
    if length:
        yield Item(("a", 0, 0), Example(row_id="a", prompt_ids=(1,) * (length - 1), answer_ids=(2,)))
