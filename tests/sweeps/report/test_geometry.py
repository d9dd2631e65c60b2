"""Oracle: brute force over a grid of places."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn_sweep.sweeps.report.geometry import staircase

tenths = st.integers(0, 10).map(lambda tenth: tenth / 10)
points = st.lists(st.tuples(tenths, tenths), min_size=1, max_size=12)


def _under(steps: list[tuple[float, float]], x: float, y: float) -> bool:
    """Whether a place lies below the line: its height over x is the largest y of a step at or beyond x."""
    return any(step_x >= x and step_y >= y for step_x, step_y in steps)


@settings(max_examples=60)
@given(points)
def test_below_the_line_is_exactly_what_the_points_dominate(given_points: list[tuple[float, float]]) -> None:
    steps = staircase(given_points)
    for column in range(11):
        for row in range(11):
            x, y = column / 10, row / 10
            assert _under(steps, x, y) == any(px >= x and py >= y for px, py in given_points)


@settings(max_examples=60)
@given(points)
def test_the_line_falls_from_left_to_right_in_right_angles(given_points: list[tuple[float, float]]) -> None:
    steps = staircase(given_points)
    for (x, y), (next_x, next_y) in pairwise(steps):
        assert next_x >= x
        assert next_y <= y
        assert next_x == x or next_y == y
    assert set(steps) >= {max(given_points, key=lambda point: (point[0], point[1]))}


def test_no_points_no_line() -> None:
    assert staircase([]) == []
