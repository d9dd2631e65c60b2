"""Compute the stepped front line of a two-objective plot from its points."""

from __future__ import annotations

from collections.abc import Iterable


def staircase(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the region that the points dominate, from left to right. Higher is better on both axes.

    Only points that are not dominated in these two objectives contribute. The line runs from x = 0 to y = 0, or from
    the outermost point if that is negative. Empty if there are no points.
    """
    best = float("-inf")
    leaders: list[tuple[float, float]] = []
    for x, y in sorted(points, reverse=True):
        if y > best:
            best = y
            leaders.append((x, y))
    if not leaders:
        return []
    leaders.reverse()
    corners = [(min(0.0, leaders[0][0]), leaders[0][1])]
    for (x, y), (_, next_y) in zip(leaders, [*leaders[1:], (0.0, min(0.0, leaders[-1][1]))], strict=True):
        corners += [(x, y), (x, next_y)]
    return corners
