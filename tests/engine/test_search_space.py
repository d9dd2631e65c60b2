"""Oracles: the JSON form is its own inverse; counts done by hand; illegal dimensions are refused when they are made."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.engine.search_space import (
    Choice,
    Dimension,
    Fixed,
    Integer,
    LogInteger,
    LogUniform,
    MethodSpace,
    Uniform,
    dimension_from_json,
    size,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**53), 2**53)
scalars = st.booleans() | whole | finite | st.text(max_size=5)


def ordered(values: st.SearchStrategy, kind: type) -> st.SearchStrategy:
    return st.tuples(values, values).map(lambda pair: kind(min(pair), max(pair)))


dimensions = st.one_of(
    scalars.map(Fixed),
    ordered(finite, Uniform),
    ordered(st.floats(1e-300, 1e300), LogUniform),
    ordered(whole, Integer),
    ordered(st.integers(1, 2**53), LogInteger),
    st.lists(scalars, min_size=1, max_size=5, unique_by=lambda value: (type(value) is bool, value)).map(
        lambda values: Choice(tuple(values))
    ),
)


@given(st.dictionaries(st.text(max_size=4), dimensions, max_size=4), st.text(max_size=4))
def test_spaces_survive_json(params: dict[str, Dimension], method: str) -> None:
    space = MethodSpace(method=method, params=params)
    back = MethodSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert back == space
    assert list(back.params) == list(space.params)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Uniform, (2.0, 1.0)),
        (Uniform, (0.0, math.inf)),
        (Uniform, (math.nan, 1.0)),
        (Uniform, ("0", 1)),
        (LogUniform, (0.0, 1.0)),
        (LogUniform, (-1.0, 1.0)),
        (Integer, (1.0, 2)),
        (Integer, (True, 2)),
        (LogInteger, (0, 4)),
        (Choice, ((),)),
        (Choice, ((1, 1.0),)),
        (Choice, (([1],),)),
        (Fixed, (math.nan,)),
        (Fixed, (None,)),
    ],
)
def test_illegal_dimensions(kind: type, arguments: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r"must|reversed|needs"):
        kind(*arguments)


def test_true_and_one_are_two_values() -> None:
    assert size(Choice((True, 1))) == 2


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "zipf", "low": 1, "high": 2},
        {"kind": "uniform", "low": 1},
        {"kind": "uniform", "low": 1, "high": 2, "step": 1},
        {"low": 1, "high": 2},
        {"kind": "uniform", "low": 3, "high": 2},
    ],
)
def test_json_of_no_dimension(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"dimension|reversed"):
        dimension_from_json(data)


def test_settings_by_hand() -> None:
    """3 choices x 4 whole numbers x 1 fixed = 12; one real range makes it endless."""
    params: dict[str, Dimension] = {"a": Choice(("x", "y", "z")), "b": Integer(2, 5), "c": Fixed(1.0)}
    assert MethodSpace(method="m", params=params).settings() == 12
    assert MethodSpace(method="m", params={**params, "d": Uniform(0.0, 1.0)}).settings() is None
    assert list(MethodSpace(method="m", params=params).searched()) == ["a", "b"]
    assert size(Uniform(1.0, 1.0)) == 1
