"""Map values of a dimension to [0, 1] and back, on the scale on which the dimension is searched."""

from __future__ import annotations

import math

from unlearn_sweep.engine.search_space import Choice, Dimension, Integer, LogInteger, LogUniform, Scalar, Uniform

SIGNIFICANT_DIGITS = 6


def value_at(dimension: Dimension, share: float) -> Scalar:
    """Return the value at `share` in [0, 1) of a searched dimension; 0 gives the lowest, or the first of a choice.

    Raises:
        TypeError: the dimension is fixed.
    """
    match dimension:
        case Choice(values=values):
            return values[int(share * len(values))]
        case Uniform(low=low, high=high):
            return rounded_into(low + (high - low) * share, low, high)
        case LogUniform(low=low, high=high):
            return rounded_into(math.exp(math.log(low) + math.log(high / low) * share), low, high)
        case Integer(low=low, high=high):
            return low + int(share * (high - low + 1))
        case LogInteger(low=low, high=high):
            return min(high, int(math.exp(math.log(low) + math.log((high + 1) / low) * share)))
    raise TypeError(f"nothing to search in {dimension!r}")


def share_of(dimension: Dimension, value: Scalar) -> float:
    """Return a share in [0, 1) with `value_at(dimension, share) == value`, up to the rounding of real numbers.

    Raises:
        TypeError: the dimension is fixed.
        ValueError: the value is not one of the dimension.
    """
    match dimension:
        case Choice(values=values):
            return (values.index(value) + 0.5) / len(values)
        case Uniform(low=low, high=high):
            return _below_one((float(value) - low) / (high - low))
        case LogUniform(low=low, high=high):
            return _below_one(math.log(float(value) / low) / math.log(high / low))
        case Integer(low=low, high=high):
            return _below_one((int(value) - low + 0.5) / (high - low + 1))
        case LogInteger(low=low, high=high):
            return _below_one(math.log((int(value) + 0.5) / low) / math.log((high + 1) / low))
    raise TypeError(f"nothing to search in {dimension!r}")


def rounded_into(value: float, low: float, high: float) -> float:
    """Round a value to SIGNIFICANT_DIGITS, the precision at which settings are compared, and clip it to its range."""
    return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), low), high)


def _below_one(share: float) -> float:
    if not 0 <= share <= 1:
        raise ValueError("outside the range of its dimension")
    return min(share, math.nextafter(1, 0))
