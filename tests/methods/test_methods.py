"""What holds for every method of the catalog: its needs are what it asks for, and padding, prompts, batch splits and
empty batches change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.methods.golden import (
    IGNORED,
    LABELS,
    LABELS2,
    TensorStep,
    divisor,
    golden_step,
    hidden_of,
    loss,
    model_logits,
    pack,
    reference_logits,
    terms_by_name,
)
from unlearn_sweep.methods.catalog import METHODS, build, card
from unlearn_sweep.methods.interface import Method, Supervised
from unlearn_sweep.methods.npo import NPO
from unlearn_sweep.methods.pdu import PDU, dual_update
from unlearn_sweep.methods.shared_params import COMPAT

SECOND_ANSWERS = ("forget_idk", "retain_idk", "forget_alternate", "forget_continuation")
"""Views whose labels are `LABELS2`."""
NAMES = [*METHODS, "finetune"]


def variants(name: str) -> list[dict[str, Any]]:
    """The defaults, every legal word of every choice, and each weight at 0; `compat` has tests of its own."""
    found: list[dict[str, Any]] = [{}]
    for param in (param for param in card(name).params if param.name != COMPAT):
        found += [{param.name: word} for word in param.choices]
        if param.name.endswith("_weight"):
            found.append({param.name: 0.0})
    return found


EVERY_VARIANT = [(name, values) for name in NAMES for values in variants(name)]
VARIANT_IDS = [f"{name} {values}" for name, values in EVERY_VARIANT]


def strongest(kinds: set[str]) -> str:
    """One kind of reference that serves all: the frozen logits give likelihoods and come with the states."""
    if len(kinds) > 1 or "logits" in kinds:
        return "logits"
    return kinds.pop() if kinds else "none"


@pytest.mark.parametrize(("name", "values"), EVERY_VARIANT, ids=VARIANT_IDS)
def test_declared_needs_are_what_is_asked_for(name: str, values: dict[str, Any]) -> None:
    method, step = build(name, values), golden_step()
    method.terms(step)
    needs = method.needs()
    assert set(step.asked) == set(needs.views)
    assert set(step.consulted) == set(needs.reference_views) <= {*needs.views, *(view for view, _ in needs.prefixes)}
    assert needs.reference == strongest(set(step.consulted.values()))
    assert bool(step.taught) == (needs.teacher != "none")
    assert set(step.taught) <= set(needs.reference_views)
    assert hasattr(method, "after_step") == needs.state


@pytest.mark.parametrize(("name", "values"), EVERY_VARIANT, ids=VARIANT_IDS)
def test_nothing_supervised_is_a_zero_with_a_gradient(name: str, values: dict[str, Any]) -> None:
    nothing = torch.full_like(LABELS, IGNORED)
    leaf = model_logits().requires_grad_()
    step = golden_step(leaf)
    step.batches = {view: pack(leaf, nothing) for view in step.batches}
    step.references = {view: pack(reference_logits(), nothing) for view in step.batches}
    value = loss(build(name, values), step)
    (slope,) = torch.autograd.grad(value, leaf)
    assert value.item() == 0.0
    assert slope.abs().max().item() == 0.0


@pytest.mark.parametrize(("name", "values"), EVERY_VARIANT, ids=VARIANT_IDS)
def test_a_rank_without_rows_gives_a_zero(name: str, values: dict[str, Any]) -> None:
    # The last micro-batch of an uneven split may leave a rank with no sequence at all.
    step = rows_of(golden_step(model_logits().requires_grad_()), 0, 0)
    for term in build(name, values).terms(step):
        assert term.total.shape == ()
        assert term.total.item() == 0.0
        assert term.total.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_prompts_do_not_matter(name: str) -> None:
    method = build(name, {})

    def wider(logits: Tensor, labels: Tensor, fill: float) -> Supervised:
        changed = logits.clone()
        changed[:, :-1][labels[:, 1:] == IGNORED] = fill
        columns = torch.full((2, 3, logits.shape[2]), fill, dtype=logits.dtype)
        return pack(torch.cat([changed, columns], 1), torch.cat([labels, torch.full((2, 3), IGNORED)], 1))

    plain, padded = golden_step(), golden_step()
    for batches, logits in ((padded.batches, model_logits()), (padded.references, reference_logits())):
        assert isinstance(batches, dict)
        for view in batches:
            labels = LABELS2 if view in SECOND_ANSWERS else LABELS
            batches[view] = wider(logits, labels, 9.0)
    assert loss(method, padded).item() == loss(method, plain).item()


def random_step(seed: int, lengths: list[tuple[int, int]]) -> TensorStep:
    """A step over rows whose two answers have the given numbers of supervised tokens."""
    generator = torch.Generator().manual_seed(seed)

    def batch(counts: list[int]) -> Supervised:
        tokens = sum(counts)
        logits = torch.randn(tokens, 7, generator=generator, dtype=torch.float64) * 2
        targets = torch.randint(7, (tokens,), generator=generator)
        rows = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.long))
        return Supervised(logits, targets, rows, len(counts), hidden_of(logits))

    first, second = [pair[0] for pair in lengths], [pair[1] for pair in lengths]
    views = {view: second if view in SECOND_ANSWERS else first for view in golden_step().batches}
    batches = {view: batch(counts) for view, counts in views.items()}
    return TensorStep(batches, {view: batch(counts) for view, counts in views.items()})


def rows_of(step: TensorStep, first: int, last: int) -> TensorStep:
    """The same step with only rows first..last-1 of every batch."""

    def cut(batch: Supervised) -> Supervised:
        kept = (batch.sequence >= first) & (batch.sequence < last)
        hidden = {layer: states[kept] for layer, states in batch.hidden.items()}
        return Supervised(batch.logits[kept], batch.targets[kept], batch.sequence[kept] - first, last - first, hidden)

    return TensorStep(
        {view: cut(batch) for view, batch in step.batches.items()},
        {view: cut(batch) for view, batch in step.references.items()},
    )


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    lengths=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=6),
    cut=st.integers(1, 5),
)
def test_totals_and_counts_add_up_over_a_split(name: str, seed: int, lengths: list[tuple[int, int]], cut: int) -> None:
    method, step = build(name, {}), random_step(seed, lengths)
    at = min(cut, len(lengths) - 1)
    parts = [rows_of(step, 0, at), rows_of(step, at, len(lengths))]
    halves = [method.terms(part) for part in parts]
    for whole, first, second in zip(method.terms(step), *halves, strict=True):
        torch.testing.assert_close(first.total + second.total, whole.total, rtol=1e-9, atol=1e-12)
        assert divisor(first, parts[0]) + divisor(second, parts[1]) == divisor(whole, step)


def test_one_mean_over_the_batch_depends_on_the_split() -> None:
    # The reason why token_mean_batch is never a default.
    method, step = NPO(reduction="token_mean_batch", retain="none"), golden_step()
    parts = [rows_of(step, 0, 1), rows_of(step, 1, 2)]
    split = sum(method.terms(part)[0].total.item() for part in parts)
    assert split != pytest.approx(method.terms(step)[0].total.item(), rel=1e-3)


def test_a_weight_scales_its_term() -> None:
    step = golden_step()
    values = terms_by_name(NPO(), step)
    weighted = loss(NPO(forget_weight=3.0, retain_weight=0.5), step)
    torch.testing.assert_close(weighted, 3.0 * values["forget"] + 0.5 * values["retain"], rtol=1e-14, atol=0)


def test_dual_variable_by_hand() -> None:
    method, step, duals = PDU(retain_limit=0.3, dual_start=0.0, dual_step_size=1.0, dual_warmup=0.0), golden_step(), []
    for retain_loss in (0.5, 0.2, 0.1):
        method.after_step(step, {"forget": 1.0, "retain": retain_loss})
        duals.append(step.state["dual"])
    assert duals == pytest.approx([0.2, 0.1, 0.0], abs=1e-15)
    assert dual_update(0.0, 0.1, limit=0.3, step_size=1.0) == 0.0


def test_dual_variable_is_the_retain_weight_and_waits_for_the_warmup() -> None:
    method, step = PDU(dual_start=10.0, dual_step_size=2.0, retain_limit=0.3, dual_warmup=0.5), golden_step()
    step.progress = 0.4
    method.after_step(step, {"retain": 1.3})
    assert step.state == {"dual": 10.0}
    step.progress = 0.5
    method.after_step(step, {"retain": 1.3})
    assert step.state == {"dual": 12.0}
    resumed = golden_step(state=dict(step.state))
    assert [term.weight for term in method.terms(resumed)] == [1.0, 12.0]


def test_a_target_that_has_no_token_is_refused() -> None:
    step = golden_step(ids=())
    with pytest.raises(ValueError, match="no token in this model's vocabulary"):
        build("jensun", {"target": "x"}).terms(step)


def test_methods_are_immutable_values() -> None:
    first: Method = build("npo", {"beta": 0.2})
    assert first == NPO(beta=0.2)
    assert hash(first) == hash(NPO(beta=0.2))
