"""Front and hypervolume. Oracles: domination by definition over all pairs, boxes in closed form, volumes on a grid."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.evaluators.front import hypervolume, hypervolume_curve, is_dominated, non_dominated

ORIGIN = (0.0, 0.0, 0.0)
GRID = 4
COORDINATE = st.integers(0, GRID).map(lambda step: step / GRID)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), max_size=12)
SOME_MISSING = st.lists(st.tuples(*[st.one_of(st.none(), COORDINATE)] * 3), max_size=12)


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


def volume_on_grid(points: list[tuple[float, float, float]], reference: tuple[float, float, float] = ORIGIN) -> float:
    """Cells of side 1/4 above the reference whose upper corner some point covers."""
    cells = itertools.product(*(range(round(low * GRID) + 1, GRID + 1) for low in reference))
    covered = sum(
        any(all(c / GRID <= x for c, x in zip(cell, point, strict=True)) for point in points) for cell in cells
    )
    return covered / GRID**3


@given(SOME_MISSING)
def test_the_front_is_what_nothing_dominates(points: list[tuple[float | None, ...]]) -> None:
    whole = [tuple(value for value in point if value is not None) for point in points]
    whole = [point for point in whole if len(point) == 3]
    for point, member in zip(points, non_dominated(points), strict=True):
        expected = None not in point and not any(dominates(rival, point) for rival in whole)  # type: ignore[arg-type]
        assert member == expected
        assert is_dominated(point, points) == (None not in point and not expected)


@given(POINTS, st.tuples(COORDINATE, COORDINATE, COORDINATE))
def test_hypervolume_is_the_volume_of_the_covered_cells(
    points: list[tuple[float, float, float]], reference: tuple[float, float, float]
) -> None:
    assert hypervolume(points, reference) == pytest.approx(volume_on_grid(points, reference))


@given(POINTS)
def test_the_curve_is_the_hypervolume_of_every_prefix(points: list[tuple[float, float, float]]) -> None:
    curve = hypervolume_curve(points, ORIGIN)
    assert curve == pytest.approx([hypervolume(points[: n + 1], ORIGIN) for n in range(len(points))])
    assert curve == sorted(curve)


@pytest.mark.parametrize(
    ("points", "reference", "volume"),
    [
        ([], ORIGIN, 0.0),
        ([(1.0, 1.0, 1.0)], ORIGIN, 1.0),
        ([(0.5, 0.4, 0.2)], ORIGIN, 0.04),
        ([(1.0, 0.5, 1.0), (0.5, 1.0, 1.0)], ORIGIN, 0.75),  # two boxes less their overlap
        ([(0.5, 0.5, 0.5)] * 3, ORIGIN, 0.125),
        ([(0.9, 0.9, 0.0)], ORIGIN, 0.0),  # on the reference's own plane
        ([(0.9, 0.9, -0.5)], ORIGIN, 0.0),
        ([(0.9, None, 0.9)], ORIGIN, 0.0),
        ([(0.75, 0.75, 0.75)], (0.5, 0.5, 0.5), 0.015625),
        ([(0.5, 0.5)], (0.0, 0.0), 0.25),
    ],
)
def test_hypervolumes_in_closed_form(
    points: list[tuple[float | None, ...]], reference: tuple[float, ...], volume: float
) -> None:
    assert hypervolume(points, reference) == pytest.approx(volume)


def test_equal_points_share_the_front_and_a_missing_objective_has_no_place_on_it() -> None:
    points = [(0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (1.0, 1.0, None), (0.5, 0.5, 0.4)]
    assert non_dominated(points) == [True, True, False, False]
    assert not is_dominated((0.5, 0.5, 0.5), [(0.5, 0.5, 0.5)])
    assert not is_dominated((0.1, 0.1, 0.1), [(1.0, 1.0, None)])
    assert non_dominated([]) == []
    assert non_dominated([(None, None, None)]) == [False]


def test_a_missing_objective_leaves_the_curve_where_it_was() -> None:
    assert hypervolume_curve([(0.5, 0.5, 0.5), (1.0, None, 1.0), (0.1, 0.1, 0.1)], ORIGIN) == [0.125, 0.125, 0.125]
    assert hypervolume_curve([(None, 1.0, 1.0)], ORIGIN) == [0.0]
    assert hypervolume_curve([], ORIGIN) == []


def test_numbers_that_are_none_and_uneven_points_are_refused() -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        non_dominated([(0.1, math.nan, 0.2)])
    with pytest.raises(ValueError, match="finite numbers"):
        hypervolume([(0.1, 0.2)], (0.0, -math.inf))
    with pytest.raises(ValueError, match=r"\(0.1, 0.2, 0.3\) has 3 objectives"):
        non_dominated([(0.1, 0.2), (0.1, 0.2, 0.3)])
    with pytest.raises(ValueError, match="has 2 objectives"):
        hypervolume_curve([(0.1, 0.2)], ORIGIN)
