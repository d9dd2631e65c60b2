"""Padded rows run in groups of like length, and the head once over the chosen places of all of them.

Answers differ in length: of 16 TOFU rows padded to the longest, a third of the places is padding. On a CPU, where a
place costs its arithmetic, several passes over less padding take less time than one; the head still multiplies all
chosen places at once, and an operation after it (scaling, soft capping) still runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearn_sweep.evaluators.model_parts import decoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PASS_PLACES = 24.0
"""What another pass costs on a CPU, in places of a row: every weight gets a gradient that is added to the others."""
PASS_PARAMETERS = 2e7
"""And what starting its operations costs, in parameters of a block: a place of one with so many costs as much."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are run at once, without what pads them to longer ones.

    Attributes:
        rows: Their numbers in the batch.
        width: Tokens of the longest.
        own: Chosen places of theirs, as indices into the flattened [rows, width].
    """

    rows: Tensor
    width: int
    own: Tensor


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups of a batch, and `order` [N], which puts their chosen places into the order of the batch's."""

    groups: tuple[Group, ...]
    order: Tensor

    def in_order(self, parts: Sequence[Tensor]) -> Tensor:
        """Values [N, ...] from those of each group's chosen places."""
        return torch.cat(list(parts))[self.order]


def by_length(shape: Sequence[int], positions: Tensor, *, pass_places: float) -> Groups | None:
    """Group the rows of a batch [B, T], of which the flattened `positions` [N] are read; None where one pass is best.

    A row ends at the last place that is read of it: a causal model needs no more. `pass_places`: how many places cost
    as much as another pass.
    """
    (count, width), device = shape, positions.device
    rows, places = positions // width, positions % width
    lengths = torch.zeros(count, dtype=torch.long, device=device).scatter_reduce(0, rows, places + 1, "amax").tolist()
    spans = grouped(lengths, pass_places)
    if len(spans) < 2:
        return None
    found, orders = [], []
    for span in spans:
        numbers = torch.full((count,), -1, device=device)
        numbers[list(span)] = torch.arange(len(span), device=device)
        chosen = (numbers[rows] >= 0).nonzero()[:, 0]
        own_width = max(lengths[row] for row in span)
        own = numbers[rows[chosen]] * own_width + places[chosen]
        found.append(Group(torch.tensor(span, device=device), own_width, own))
        orders.append(chosen)
    return Groups(tuple(found), torch.cat(orders).argsort())


def grouped(lengths: Sequence[int], pass_places: float) -> list[list[int]]:
    """Divide rows of these lengths into groups so that places, padding and passes among them, are fewest.

    Rows of length 0 are in no group.
    """
    order = sorted((row for row, length in enumerate(lengths) if length), key=lambda row: lengths[row])
    best: list[tuple[float, int]] = [(0.0, 0)]
    for last in range(1, len(order) + 1):
        longest = lengths[order[last - 1]]
        costs = ((best[first][0] + (last - first) * longest + pass_places, first) for first in range(last))
        best.append(min(costs))
    groups: list[list[int]] = []
    last = len(order)
    while last:
        first = best[last][1]
        groups.append(order[first:last])
        last = first
    return groups


def pass_places(model: PreTrainedModel) -> float:
    """How many places of this model cost as much as another pass over it, on a CPU."""
    blocks = decoder_layers(model)
    starting = PASS_PARAMETERS * len(blocks) / max(1, sum(weight.numel() for weight in blocks.parameters()))
    return PASS_PLACES + starting


@dataclass(slots=True)
class HeadOnce:
    """Lets each group's pass stop at the head but the last, whose head reads the chosen places of all groups.

    Attributes:
        groups: The groups.
        run_head: Whether the last pass computes logits; else none does, and `hidden` is what the head would read.
        caught: Hidden states at the chosen places of each group that was run.
    """

    groups: Groups
    run_head: bool = True
    caught: list[Tensor] = field(default_factory=list[Tensor])

    @contextmanager
    def on(self, head: nn.Module) -> Iterator[None]:
        """Catch what the head reads in the passes inside."""
        handle = head.register_forward_pre_hook(self._catch)
        try:
            yield
        finally:
            handle.remove()

    @property
    def hidden(self) -> Tensor:
        """What the head reads at all chosen places [N, D], in order."""
        return self.groups.in_order(self.caught)

    def _catch(self, head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        states, *rest = args
        self.caught.append(states.flatten(0, 1)[self.groups.groups[len(self.caught)].own])
        if self.run_head and len(self.caught) == len(self.groups.groups):
            return (self.hidden.unsqueeze(0), *rest)
        return (states[:1, :1].detach(), *rest)


def logits_in_groups(model: PreTrainedModel, input_ids: Tensor, groups: Groups) -> Tensor | None:
    """Logits [N, V] at the chosen places of a batch; None where the model does not call its head as a module."""
    head, once, logits = model.get_output_embeddings(), HeadOnce(groups), None
    if not isinstance(head, nn.Module):
        return None
    for group in groups.groups:
        with once.on(head):
            logits = model(input_ids=input_ids[group.rows, : group.width], use_cache=False).logits[0]
        if not once.caught:
            return None
    return logits
