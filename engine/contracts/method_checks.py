"""Contract checks for methods. Each raises ContractError on a violation. Used by the tests and by `check-plugin`.

`name` is the method's name as in a sweep file; `values` override its defaults. Methods run on the tensors of `golden`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unlearn_sweep.engine.contracts.failure import require
from unlearn_sweep.engine.contracts.golden import (
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
)
from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.catalog import build, card, defaults, illegal
from unlearn_sweep.methods.interface import Supervised
from unlearn_sweep.methods.shared_params import COMPAT, OUTSIDE_THE_LOSS, TRAINING_PARAMS

SECOND_ANSWERS = ("forget_idk", "retain_idk", "forget_alternate", "forget_vague", "forget_continuation")
"""Views whose labels are `LABELS2`."""
Values = Mapping[str, Any]


def variants(name: str) -> list[dict[str, Any]]:
    """Return parameter values to check: the defaults, every option of every choice, and each weight at 0.

    `compat` is left out, because it has its own tests.
    """
    found: list[dict[str, Any]] = [{}]
    for param in (param for param in card(name).params if param.name != COMPAT):
        found += [{param.name: word} for word in param.choices]
        if param.name.endswith("_weight"):
            found.append({param.name: 0.0})
    return found


def needs_are_what_is_asked_for(name: str, values: Values) -> None:
    """Check that `terms` uses exactly the views, reference, teacher and state that `needs` declares."""
    method, step = build(name, values), golden_step()
    method.terms(step)
    needs = method.needs()
    views = {*needs.views, *(view for view, _ in needs.prefixes)}
    require(set(step.asked) == set(needs.views), f"reads views {sorted(set(step.asked))}, declares {needs.views}")
    consulted = set(step.consulted)
    require(
        consulted == set(needs.reference_views) and consulted <= views,
        f"consults the start model on {sorted(consulted)}, declares {needs.reference_views}",
    )
    kind = _strongest(set(step.consulted.values()))
    require(needs.reference == kind, f"asks the start model for {kind!r}, declares reference {needs.reference!r}")
    require(bool(step.taught) == (needs.teacher != "none"), f"declares teacher {needs.teacher!r}")
    require(set(step.taught) <= set(needs.reference_views), "asks its teacher on views outside reference_views")
    if not card(name).parts:  # a composition always has after_step, even if its method has none
        require(hasattr(method, "after_step") == needs.state, "has after_step, or declares state, and not both")


def _strongest(kinds: set[str]) -> str:
    """Return the one kind of reference that provides all of `kinds`; "logits" includes NLLs and hidden states."""
    if len(kinds) > 1 or "logits" in kinds:
        return "logits"
    return kinds.pop() if kinds else "none"


def nothing_supervised_is_a_zero_with_a_gradient(name: str, values: Values) -> None:
    """Check that without supervised tokens the loss is 0 and has a graph; otherwise other ranks would wait forever."""
    nothing = torch.full_like(LABELS, IGNORED)
    leaf = model_logits().requires_grad_()
    step = golden_step(leaf)
    step.batches = {view: pack(leaf, nothing) for view in step.batches}
    step.references = {view: pack(reference_logits(), nothing) for view in step.batches}
    value = loss(build(name, values), step)
    require(value.requires_grad, "the loss of no tokens has no gradient")
    (slope,) = torch.autograd.grad(value, leaf)
    require(value.item() == 0.0 and slope.abs().max().item() == 0.0, f"the loss of no tokens is {value.item()}")


def a_rank_without_rows_gives_a_zero(name: str, values: Values) -> None:
    """Check that each term of a micro-batch without sequences is a scalar 0 with a graph.

    An uneven split may leave a rank without sequences in its last micro-batch.
    """
    step = rows_of(golden_step(model_logits().requires_grad_()), 0, 0)
    for term in build(name, values).terms(step):
        require(term.total.shape == (), f"term {term.name}: total has shape {tuple(term.total.shape)}, not ()")
        require(term.total.item() == 0.0, f"term {term.name} of no rows is {term.total.item()}")
        require(term.total.requires_grad, f"term {term.name} of no rows has no gradient")


def padding_and_prompts_do_not_matter(name: str) -> None:
    """Check that more padding and other logits at unsupervised positions leave the loss unchanged, bit for bit."""

    def wider(logits: Tensor, labels: Tensor, fill: float) -> Supervised:
        changed = logits.clone()
        changed[:, :-1][labels[:, 1:] == IGNORED] = fill
        columns = torch.full((2, 3, logits.shape[2]), fill, dtype=logits.dtype)
        return pack(torch.cat([changed, columns], 1), torch.cat([labels, torch.full((2, 3), IGNORED)], 1))

    plain, padded = golden_step(), golden_step()
    padded.batches, padded.references = (
        {view: wider(logits, LABELS2 if view in SECOND_ANSWERS else LABELS, 9.0) for view in plain.batches}
        for logits in (model_logits(), reference_logits())
    )
    method = build(name, {})
    before, after = loss(method, plain).item(), loss(method, padded).item()
    require(before == after, f"the loss is {before} and, with more padding, {after}")


def random_step(seed: int, lengths: Sequence[tuple[int, int]]) -> TensorStep:
    """Return a step over random rows. `lengths`: for each row, the supervised tokens of its first and second answer."""
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
    """Return the step with only rows first to last - 1 of every batch."""

    def cut(batch: Supervised) -> Supervised:
        kept = (batch.sequence >= first) & (batch.sequence < last)
        hidden = {layer: states[kept] for layer, states in batch.hidden.items()}
        return Supervised(batch.logits[kept], batch.targets[kept], batch.sequence[kept] - first, last - first, hidden)

    return TensorStep(
        {view: cut(batch) for view, batch in step.batches.items()},
        {view: cut(batch) for view, batch in step.references.items()},
    )


def totals_and_counts_add_up_over_a_split(name: str, seed: int, lengths: Sequence[tuple[int, int]], cut: int) -> None:
    """Check that totals and counts of two micro-batches, split before row `cut`, add up to those of one batch."""
    method, step = build(name, {}), random_step(seed, lengths)
    at = min(cut, len(lengths) - 1)
    parts = [rows_of(step, 0, at), rows_of(step, at, len(lengths))]
    halves = [method.terms(part) for part in parts]
    for whole, first, second in zip(method.terms(step), *halves, strict=True):
        total = (first.total + second.total).item()
        require(
            torch.isclose(first.total + second.total, whole.total, rtol=1e-9, atol=1e-12).item() is True,
            f"term {whole.name}: two micro-batches give {total}, one batch {whole.total.item()}; "
            f"return a sum over tokens or sequences, not a mean",
        )
        counts = (divisor(first, parts[0]), divisor(second, parts[1]), divisor(whole, step))
        require(counts[0] + counts[1] == counts[2], f"term {whole.name}: counts {counts} do not add up")


def the_gradient_is_that_of_the_value(name: str, values: Values) -> None:
    """Check the gradient of the loss against finite differences in fp64.

    A method that deliberately detaches a part of its loss fails this check.
    """
    leaf, method = model_logits().requires_grad_(), build(name, values)
    try:
        torch.autograd.gradcheck(lambda z: loss(method, golden_step(z)), leaf, fast_mode=True)
    except RuntimeError as error:  # what gradcheck raises for a mismatch
        require(False, str(error).partition("\n")[0])


def fields_are_the_parameters(entry: MethodCard) -> None:
    """Check that class and card have the same parameters, with the same defaults and order."""
    fields = {item.name: item.default for item in dataclasses.fields(entry.load())}
    if entry.kind == "wrapper":
        expected = {param.name: param.default for param in entry.params}
    else:
        expected = {name: value for name, value in defaults(entry.name).items() if name not in OUTSIDE_THE_LOSS}
    require(list(fields.items()) == list(expected.items()), f"the class has {fields}, the card {expected}")


def needs_on_the_card_are_those_of_the_defaults(entry: MethodCard) -> None:
    needs = build(entry.name, {}).needs()
    words = [*needs.views]
    words += [f"reference:{needs.reference}"] if needs.reference != "none" else []
    words += [f"teacher:{needs.teacher}"] if needs.teacher != "none" else []
    words += ["grouped"] if needs.gradients == "grouped" else []
    words += ["state"] if needs.state else []
    words += ["noise"] if needs.noise is not None else []
    require(list(entry.needs) == words, f"the card has needs={entry.needs}, the class {tuple(words)}")


def training_parameters_are_on_the_card(entry: MethodCard) -> None:
    names = [param.name for param in entry.params]
    require(set(names) >= TRAINING_PARAMS, f"the card lacks {sorted(TRAINING_PARAMS - set(names))}")
    require(len(set(names)) == len(names), f"a parameter is there twice: {names}")


def default_and_range_are_legal(param: Param) -> None:
    """Check one parameter: default and search range are legal, the range includes the default, a source is named."""
    for value in (param.default, *(param.search or ())):
        require((wanted := illegal(param, value)) is None, f"{param.name} = {value!r}: must be {wanted}")
    require(bool(param.source and param.summary), f"{param.name} lacks a source or a summary")
    if param.search is None:
        return
    if param.scale == "choice":
        require(param.default in param.search, f"{param.name}: default {param.default!r} is not in {param.search}")
        return
    low, high = (float(end) for end in param.search)
    require(low < high and low <= float(param.default) <= high, f"{param.name}: default outside {param.search}")
    require(low > 0 or param.scale not in ("log", "log_int"), f"{param.name}: a log scale cannot begin at {low:g}")
