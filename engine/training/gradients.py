"""Compute separate gradients of forget and retain terms, and let wrappers change them before the weights move.

Each rank differentiates its own share of the rows, and the results are averaged over ranks. With the torch backend
every rank then works on whole gradients; under ZeRO on an equal part of each, and sums over all entries are sums over
ranks. So a wrapper computes the same in all cases. The cost is memory for two gradients, plus one for each that a
wrapper keeps, divided by the ranks under ZeRO.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from unlearn_sweep.engine.training.global_batch import GlobalBatch
from unlearn_sweep.engine.training.state import Totals, Training
from unlearn_sweep.engine.training.steps import MicroStep, group_of
from unlearn_sweep.methods.interface import Gradients, GradientWrapper, Group
from unlearn_sweep.methods.token_losses import token_nll


def shaped_gradient(
    training: Training, index: int, totals: Totals, wrappers: Sequence[GradientWrapper]
) -> list[Tensor]:
    """Return the gradient of the optimizer step: forget plus retain after all wrappers, equal on every rank."""
    probe = StepProbe(training, index, totals)
    gradients = probe.gradients(totals)
    for wrapper in wrappers:
        gradients = wrapper.reshape(gradients, probe)
    return [forget + retain for forget, retain in zip(gradients.forget, gradients.retain, strict=True)]


class StepProbe:
    """Implement `methods.interface.Probe` for one step's global batch."""

    def __init__(self, training: Training, index: int, totals: Totals) -> None:
        self.training = training
        self.index = index
        self.totals = totals
        self.realised_length = 0.0

    def gradients(self, totals: Totals) -> Gradients:
        """Return the gradients of both groups at the current weights, and add the terms' values to `totals`."""
        whole = GlobalBatch(self.training, self.index)
        backend = self.training.backend
        sums: dict[Group, list[Tensor]] = {"forget": backend.zeros(), "retain": backend.zeros()}
        for step, _ in whole.steps(joint=False):
            terms = self.training.active.terms(step)
            for group, total in sums.items():
                own = [term for term in terms if group_of(term.view) == group]
                if own:
                    backend.add_gradient(whole.loss(own), total)
            totals.add(terms, whole.counts(terms), step)
        means = {group: backend.mean_over_ranks(total) for group, total in sums.items()}
        return Gradients(forget=means["forget"], retain=means["retain"])

    def gradient(self, group: Group, offsets: Sequence[Tensor] | None = None) -> list[Tensor]:
        backend = self.training.backend
        whole, total = GlobalBatch(self.training, self.index), backend.zeros()
        with self._moved(offsets):
            for step, _ in whole.steps(joint=False, only=group):
                own = [term for term in self.training.active.terms(step) if group_of(term.view) == group]
                if own:
                    backend.add_gradient(whole.loss(own), total)
                self.totals.tokens += step.tokens
        return backend.mean_over_ranks(total)

    def nll_gradient(
        self, view: str, offsets: Sequence[Tensor] | None = None, *, row: int | None = None, ahead: int = 0
    ) -> list[Tensor]:
        backend = self.training.backend
        whole, total = GlobalBatch(self.training, self.index + ahead), backend.zeros()
        chosen = whole.rows[view] if row is None else whole.rows[view][row : row + 1]
        tokens = max(1, sum(item.supervised for item in chosen))
        with self._moved(offsets):
            for step, _ in whole.steps(joint=False):
                kept = tuple(item for item in step.items[view] if any(item is one for one in chosen))
                alone = MicroStep(self.training.run, self.index, {view: kept}, joint=False)
                batch = alone.forward(view)
                loss = token_nll(batch.logits, batch.targets).sum() / tokens
                backend.add_gradient(loss * self.training.ranks.world_size, total)
                self.totals.tokens += alone.tokens
        return backend.mean_over_ranks(total)

    def rows(self, view: str) -> int:
        return len(GlobalBatch(self.training, self.index).rows[view])

    def total(self, values: Tensor) -> Tensor:
        return self.training.backend.sum_parts(values)

    def normal(self, generator: torch.Generator) -> list[Tensor]:
        backend, place = self.training.backend, self.training.run.device
        drawn = (torch.randn(shape, generator=generator, device=generator.device) for shape in backend.shapes)
        return [backend.part(index, whole.to(place)) for index, whole in enumerate(drawn)]

    def generator(self, name: str) -> torch.Generator:
        return MicroStep(self.training.run, self.index, {}, joint=False).generator(name)

    def remembered(self, name: str) -> list[Tensor] | None:
        return self.training.memory.parts.get(name)

    def remember(self, name: str, parts: list[Tensor]) -> None:
        self.training.memory.parts[name] = parts

    def report(self, name: str, value: float) -> None:
        self.totals.report(name, value)

    @contextmanager
    def _moved(self, offsets: Sequence[Tensor] | None) -> Iterator[None]:
        if offsets is None:
            yield
            return
        with self.training.backend.moved(offsets) as self.realised_length:
            yield
