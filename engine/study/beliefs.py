"""Beliefs of the user, such as published settings: early trials of a method are drawn around the believed one.

Trial k of a method (from 0) follows the belief with probability `FADES / (FADES + k)`: the first always, the twentieth
one time in eleven. So a good belief is used while the sampler knows nothing, and a wrong one costs a few trials, as the
weight of a prior that fades in Hvarfner et al. 2022 (arXiv 2204.11051) and Souza et al. 2021 (arXiv 2006.14608).
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from unlearn_sweep.engine.samplers.unit_interval import share_of, value_at
from unlearn_sweep.engine.search_space import Choice, Dimension, MethodSpace, Scalar

FADES = 2.0
SPREAD = 0.1
"""Standard deviation around a believed value, as a share of its range on the scale on which it is searched."""
KEPT = 0.75
"""Probability that a believed word of a choice is kept; otherwise every word is equally likely."""


def believed_point(
    space: MethodSpace, believed: Mapping[str, Scalar], *, place: int, seed: int
) -> dict[str, Scalar] | None:
    """Return the point of the method's trial `place` (from 0) if it follows the belief, else None.

    The first trial is the believed setting itself, a later one is drawn around it. Parameters without a belief are
    drawn from their whole range.
    """
    chance = random.Random(seed)
    if not space.searched() or chance.random() >= FADES / (FADES + place):
        return None
    point: dict[str, Scalar] = {"method": space.method}
    for name, dimension in space.searched().items():
        if name not in believed:
            value = value_at(dimension, chance.random())
        elif place == 0:
            value = believed[name]
        else:
            value = _near(dimension, believed[name], chance)
        point[f"{space.method}.{name}"] = value
    return point


def _near(dimension: Dimension, value: Scalar, chance: random.Random) -> Scalar:
    if isinstance(dimension, Choice):
        return value if chance.random() < KEPT else chance.choice(dimension.values)
    middle, share = share_of(dimension, value), -1.0
    while not 0 <= share < 1:
        share = chance.gauss(middle, SPREAD)
    return value_at(dimension, share)
