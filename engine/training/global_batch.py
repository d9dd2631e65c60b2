"""The rows of one optimizer step over all ranks: this rank's micro-batches, the counts of terms, and the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from unlearn_sweep.engine.training.batches import micro_batch, micro_batch_count, rank_share
from unlearn_sweep.engine.training.loss import loss_of, term_count
from unlearn_sweep.engine.training.smaller_batches import check_same_training
from unlearn_sweep.engine.training.state import Training
from unlearn_sweep.engine.training.steps import MicroStep, joint_is_cheap
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.methods.interface import Group, Term


class GlobalBatch:
    """The rows of one step. Create one per gradient evaluation: it caches values that depend on the weights."""

    def __init__(self, training: Training, index: int) -> None:
        self.training = training
        self.index = index
        self.rows: Mapping[str, Sequence[Item]] = training.views.batch(training.plan, index)
        self._squares: dict[str, float] | None = None

    def steps(self, *, joint: bool = True, only: Group | None = None) -> Iterator[tuple[MicroStep, bool]]:
        """Yield (micro-batch, whether it is the last) for this rank. Every rank yields the same number.

        `joint` allows one forward pass for several views. `only` runs the other group's views without a graph.
        """
        size, ranks = self.training.micro_rows, self.training.ranks
        shares = {view: rank_share(items, ranks.rank, ranks.world_size) for view, items in self.rows.items()}
        count = self.micro_batches
        together = joint and only is None and not self.training.run.needs.padded and joint_is_cheap(self.rows)
        for number in range(count):
            items = {view: micro_batch(share, number, size) for view, share in shares.items()}
            yield MicroStep(self.training.run, self.index, items, joint=together, only=only), number == count - 1

    @property
    def micro_batches(self) -> int:
        """Number of micro-batches per rank."""
        size, ranks = self.training.micro_rows, self.training.ranks
        return micro_batch_count(max(map(len, self.rows.values())), ranks.world_size, size)

    def counts(self, terms: Sequence[Term]) -> dict[str, int]:
        """Return the divisor of each term's total, by name."""
        everywhere = self.micro_batches * self.training.ranks.world_size
        return {term.name: term_count(term, self.rows, everywhere) for term in terms}

    def loss(self, terms: Sequence[Term]) -> Tensor:
        """Return the scalar loss of one micro-batch with these terms.

        Raises:
            MemoryError: see `check_same_training`.
        """
        check_same_training(self.training, terms)
        return loss_of(terms, self.counts(terms), self.training.ranks.world_size, self._square_means(terms))

    @torch.no_grad()
    def _square_means(self, terms: Sequence[Term]) -> dict[str, float]:
        """Compute the global-batch means of the squared terms, before anything is differentiated.

        A single micro-batch already has the totals; with several, all terms are computed once more, without a graph.
        """
        if not any(term.squared for term in terms):
            return {}
        if self._squares is None:
            method = self.training.active
            micro = list(self.steps())
            rounds = [terms] if len(micro) == 1 else [method.terms(step) for step, _ in micro]
            totals: dict[str, Tensor] = {}
            for term in (term for some in rounds for term in some if term.squared):
                totals[term.name] = totals.get(term.name, torch.zeros_like(term.total)) + term.total.detach()
            counts = self.counts(terms)
            self._squares = {
                name: float(self.training.ranks.sum(total)) / counts[name] for name, total in totals.items()
            }
        return self._squares
