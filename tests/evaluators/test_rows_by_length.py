"""Rows in groups of like length. Oracle: every division of the rows, tried out."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

import pytest
import torch

from unlearn_sweep.evaluators.rows_by_length import by_length, grouped


def places(groups: list[list[int]], lengths: list[int]) -> int:
    return sum(len(group) * max(lengths[row] for row in group) for group in groups)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("cost", [0, 3, 25, 1000])
def test_no_division_costs_less(seed: int, cost: int) -> None:
    draw = random.Random(seed)
    lengths = [draw.randint(0, 30) for _ in range(draw.randint(1, 7))]
    rows = sorted((row for row in range(len(lengths)) if lengths[row]), key=lambda row: lengths[row])
    least = min(
        (
            places(groups, lengths) + cost * len(groups)
            for count in range(len(rows))
            for borders in combinations(range(1, len(rows)), count)
            for groups in [[rows[a:b] for a, b in pairwise((0, *borders, len(rows)))]]
        ),
        default=0,
    )
    found = grouped(lengths, cost)
    assert sorted(row for group in found for row in group) == sorted(rows)
    assert places(found, lengths) + cost * len(found) == least


def test_chosen_places_come_back_in_the_batch_s_order() -> None:
    ids = torch.arange(5 * 8).view(5, 8)
    positions = torch.tensor([1, 7, 9, 10, 32, 36, 20, 16])  # rows 0, 0, 1, 1, 4, 4, 2, 2; none of row 3
    groups = by_length(ids.shape, positions, pass_places=1)
    assert groups is not None
    assert [group.width for group in groups.groups] == [8, 5, 3]
    parts = [ids[group.rows, : group.width].flatten()[group.own] for group in groups.groups]
    assert groups.in_order(parts).tolist() == positions.tolist()


def test_one_pass_where_another_costs_more_than_it_saves() -> None:
    positions = torch.tensor([1, 15])
    assert by_length((2, 8), positions, pass_places=7) is None
    assert by_length((2, 8), positions, pass_places=5) is not None
