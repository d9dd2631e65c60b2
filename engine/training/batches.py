"""Choose the rows of each step. The choice depends only on seed and step, not on ranks, micro-batches or the model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import torch

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Pick:
    """A row of a view, and the pass over that view (from 0) in which it is drawn."""

    row: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """The rows of every step.

    The anchor is reshuffled each epoch. Each epoch uses each of its rows once, so its last batch may be smaller. The
    other views cycle over their own shuffles.

    Attributes:
        anchor: The view that defines epochs: one pass over it is one epoch.
        sizes: Number of rows of each view.
        batch_size: Rows of the anchor per step.
        seed: Seed of all shuffles.
        rows_a_step: Rows per step of views that do not use as many as the anchor's batch has.
    """

    anchor: str
    sizes: Mapping[str, int]
    batch_size: int
    seed: int
    rows_a_step: Mapping[str, int] = field(default_factory=dict)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.sizes[self.anchor] / self.batch_size)

    def picks(self, view: str, step: int) -> tuple[Pick, ...]:
        """Return the rows of `view` in step `step` (from 0)."""
        size, anchor_size = self.sizes[view], self.sizes[self.anchor]
        epoch, batch = divmod(step, self.steps_per_epoch)
        start = batch * self.batch_size
        stop = min(start + self.batch_size, anchor_size)
        if view == self.anchor:
            return tuple(Pick(row, epoch) for row in shuffled(self.seed, view, epoch, size)[start:stop])
        if own := self.rows_a_step.get(view):
            first, last = step * own, (step + 1) * own
        else:
            first, last = epoch * anchor_size + start, epoch * anchor_size + stop
        places = (divmod(place, size) for place in range(first, last))
        return tuple(Pick(shuffled(self.seed, view, cycle, size)[place], cycle) for cycle, place in places)


@lru_cache(maxsize=16)
def shuffled(seed: int, view: str, epoch: int, size: int) -> tuple[int, ...]:
    """Return the row numbers of a view in the order of pass `epoch`."""
    generator = torch.Generator().manual_seed(seed_of(seed, "order", view, epoch))
    return tuple(torch.randperm(size, generator=generator).tolist())


def seed_of(*parts: int | str) -> int:
    """Hash `parts` into a seed in [0, 2^63)."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def rank_share(items: Sequence[Item], rank: int, world_size: int) -> Sequence[Item]:
    """Return every `world_size`-th item. Items are sorted by length, so ranks get similar work and padding."""
    return items[rank::world_size]


def micro_batch_count(rows: int, world_size: int, micro_batch_size: int | None) -> int:
    """Return the micro-batches per rank in a step of `rows` rows; at least 1.

    The number is the same on every rank, so that collectives match.
    """
    largest_share = math.ceil(rows / world_size)
    return 1 if micro_batch_size is None else max(1, math.ceil(largest_share / micro_batch_size))


def micro_batch(items: Sequence[Item], index: int, micro_batch_size: int | None) -> Sequence[Item]:
    """Return the `index`-th micro-batch of a rank's items; empty if the rank has no rows left."""
    return items if micro_batch_size is None else items[index * micro_batch_size : (index + 1) * micro_batch_size]
