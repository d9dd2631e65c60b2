"""The non-dominated points of a set and the hypervolume they cover. Every objective is maximised.

A point dominates another if it is at least as good in every objective and better in one. So equal points do not
dominate each other: all of them are on the front, and the hypervolume counts them once. A point with a missing
objective (None) is never on the front and dominates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

import moocore
import numpy as np
from numpy.typing import NDArray

Name = TypeVar("Name")
Point = Sequence[float | None]


def non_dominated(points: Sequence[Point]) -> list[bool]:
    """Whether each point is on the front, in the order given.

    Raises ValueError where points differ in length, or hold a NaN or an infinite number.
    """
    _check(points)
    members = [False] * len(points)
    placed = [place for place, point in enumerate(points) if None not in point]
    if placed:
        flags = moocore.is_nondominated(_matrix(points[place] for place in placed), maximise=True, keep_weakly=True)
        for place, flag in zip(placed, flags, strict=True):
            members[place] = bool(flag)
    return members


def is_dominated(point: Point, others: Sequence[Point]) -> bool:
    """Whether one of `others` dominates `point`; never if `point` misses an objective. Raises ValueError as above."""
    return None not in point and not non_dominated([point, *others])[0]


def hypervolume(points: Sequence[Point], reference: Sequence[float]) -> float:
    """Volume between `reference` and the front; a point that is not above `reference` in every objective adds none.

    0 without points. Raises ValueError as above, or where `reference` has another length or is not finite.
    """
    _check([reference, *points])
    known = [point for point in points if None not in point]
    return float(moocore.hypervolume(_matrix(known), ref=list(reference), maximise=True)) if known else 0.0


def hypervolume_curve(points: Sequence[Point], reference: Sequence[float]) -> list[float]:
    """Hypervolume of the first 1, 2, ... points; as long as `points`, and it never falls. Raises as `hypervolume`."""
    front = GrowingFront[int](reference)
    return [front.add(position, point) for position, point in enumerate(points)]


class GrowingFront(Generic[Name]):
    """The front of points that arrive one by one, and the hypervolume that they cover so far.

    Attributes:
        members: name and point of each front member, in order of arrival.
        volume: hypervolume of all points; it never falls.
    """

    def __init__(self, reference: Sequence[float]) -> None:
        self.members: list[tuple[Name, Point]] = []
        self.volume = hypervolume([], reference)
        self._reference = reference

    def add(self, name: Name, point: Point) -> float:
        """Add a point and return the hypervolume. Raises as `hypervolume`."""
        _check([self._reference, point])
        # Only a point that no other dominates adds volume, and only front members matter from then on.
        if None not in point and not is_dominated(point, [other for _, other in self.members]):
            kept = [(key, other) for key, other in self.members if not is_dominated(other, [point])]
            self.members = [*kept, (name, point)]
            self.volume = max(self.volume, hypervolume([other for _, other in self.members], self._reference))
        return self.volume


def _matrix(points: Iterable[Point]) -> NDArray[np.float64]:
    return np.array(list(points), dtype=np.float64)


def _check(points: Sequence[Point]) -> None:
    for point in points:
        if len(point) != len(points[0]):
            raise ValueError(f"{tuple(point)} has {len(point)} objectives, {tuple(points[0])} has {len(points[0])}")
        if any(value is not None and not math.isfinite(value) for value in point):
            raise ValueError(f"{tuple(point)}: objectives are finite numbers, or None where one is missing")
