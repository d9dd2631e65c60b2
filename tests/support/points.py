"""Read the values of a proposed configuration."""

from __future__ import annotations

from unlearn_sweep.engine.search_space import Scalar


def number(value: Scalar) -> float:
    """The value of a numeric parameter."""
    assert isinstance(value, int | float)
    return value
