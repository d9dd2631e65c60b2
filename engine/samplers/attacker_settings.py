"""The settings of a searched attacker: a fixed design over its space, the same for every model of every sweep.

The design does not depend on results. Every trial, the original and the gold model so face the same settings, each
score is normalised by the same attack, and neither the order of the settings nor a resume can change which there are.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

from unlearn_sweep.engine.samplers.unit_interval import value_at
from unlearn_sweep.engine.search_space import Choice, Dimension, Integer, LogInteger, Scalar, size
from unlearn_sweep.engine.store.keys import digest

LARGEST_GRID = 4096


def attacker_settings(identity: str, space: Mapping[str, Dimension], count: int) -> list[dict[str, Scalar]]:
    """Return `count` different settings, drawn by Latin hypercube: each dimension is cut into `count` equal parts.

    A space with at most `count` settings gives all of them, in order. `identity` seeds the draw.

    Raises:
        ValueError: nothing is searched, or `count` is below 1.
    """
    if not space or count < 1:
        raise ValueError("an attacker's search needs a dimension and at least one setting")
    whole = all_settings(space)
    if whole is not None and len(whole) <= count:
        return whole
    chance = random.Random(digest({"attacker": identity}))
    found: dict[tuple[Scalar, ...], None] = {}
    while len(found) < count:
        columns = [_column(dimension, count, chance) for dimension in space.values()]
        for point in zip(*columns, strict=True):
            if len(found) < count:
                found.setdefault(point)
    return [dict(zip(space, point, strict=True)) for point in found]


def all_settings(space: Mapping[str, Dimension]) -> list[dict[str, Scalar]] | None:
    """Return every setting of a space; None if one of its dimensions is continuous or there are more than 4096."""
    sizes = [size(dimension) for dimension in space.values()]
    total = 1
    for known in sizes:
        if known is None:
            return None
        total *= known
    if total > LARGEST_GRID:
        return None
    points = itertools.product(*(_values(dimension) for dimension in space.values()))
    return [dict(zip(space, point, strict=True)) for point in points]


def _column(dimension: Dimension, count: int, chance: random.Random) -> list[Scalar]:
    """Return one value from each of `count` equal parts of a dimension, shuffled."""
    shares = [(part + chance.random()) / count for part in range(count)]
    chance.shuffle(shares)
    return [value_at(dimension, share) for share in shares]


def _values(dimension: Dimension) -> list[Scalar]:
    match dimension:
        case Choice(values=values):
            return list(values)
        case Integer(low=low, high=high) | LogInteger(low=low, high=high):
            return list(range(low, high + 1))
    return [value_at(dimension, 0.0)]
