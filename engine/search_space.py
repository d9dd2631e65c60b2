"""The search space: one dimension per parameter, one space per method. Plain values; imports neither Optuna nor torch.

Ranges include both ends. Every dimension validates itself on construction, so a space read from JSON is checked like
one from a sweep file. The JSON form of a dimension is, for example, `{"kind": "log_uniform", "low": ..., "high": ...}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Scalar = float | int | str | bool
CHECKPOINT = "training.checkpoint"
"""The share of its training's steps after which a trial's weights are taken, in (0, 1]; a trial without it has 1."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A single value that is not searched."""

    value: Scalar

    def __post_init__(self) -> None:
        _require_scalar(self.value)


@dataclass(frozen=True, slots=True)
class Uniform:
    """A real number, uniform on [low, high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _require_range(self.low, self.high, whole=False, positive=False)


@dataclass(frozen=True, slots=True)
class LogUniform:
    """A positive real number, log-uniform on [low, high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _require_range(self.low, self.high, whole=False, positive=True)


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer, uniform on [low, high]."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _require_range(self.low, self.high, whole=True, positive=False)


@dataclass(frozen=True, slots=True)
class LogInteger:
    """An integer of at least 1, log-uniform on [low, high]."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _require_range(self.low, self.high, whole=True, positive=True)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several distinct, unordered values."""

    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise ValueError("a choice needs at least one value")
        for value in self.values:
            _require_scalar(value)
        if len({(type(value) is bool, value) for value in self.values}) < len(self.values):
            raise ValueError(f"a choice must not repeat a value: {list(self.values)}")


Dimension = Fixed | Uniform | LogUniform | Integer | LogInteger | Choice

_KINDS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "fixed": Fixed,
        "uniform": Uniform,
        "log_uniform": LogUniform,
        "integer": Integer,
        "log_integer": LogInteger,
        "choice": Choice,
    }
)
_NAMES: Mapping[type[Any], str] = MappingProxyType({kind: name for name, kind in _KINDS.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSpace:
    """One method, named as in the sweep file, with all its parameters in the order of its card.

    `only_if` maps a parameter that has no effect in some trials to the one that decides it, and to the value of that
    one with which it has. Elsewhere it keeps its first value, so that equal trainings are equal configurations.
    """

    method: str
    params: Mapping[str, Dimension]
    only_if: Mapping[str, tuple[str, Scalar]] = field(default_factory=dict)

    def searched(self) -> dict[str, Dimension]:
        """Return the parameters that are not `Fixed`."""
        return {name: dimension for name, dimension in self.params.items() if not isinstance(dimension, Fixed)}

    def canonical(self, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return the parameters with those that have no effect at their first value."""
        idle = {name for name, (other, value) in self.only_if.items() if params[other] != value}
        return {name: end_values(self.params[name])[0] if name in idle else value for name, value in params.items()}

    def whole(self, searched: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return all parameters in their order: those given, and the value of every fixed one."""
        return {
            name: dimension.value if isinstance(dimension, Fixed) else searched[name]
            for name, dimension in self.params.items()
        }

    def settings(self) -> int | None:
        """Return the number of distinct configurations, or None if a parameter is continuous."""
        sizes = [size(dimension) for dimension in self.params.values()]
        return None if None in sizes else math.prod(count for count in sizes if count is not None)

    def to_json(self) -> dict[str, Any]:
        conditions = {name: list(condition) for name, condition in self.only_if.items()}
        return {
            "method": self.method,
            "params": {name: dimension_to_json(value) for name, value in self.params.items()},
            **({"only_if": conditions} if conditions else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MethodSpace:
        """Read the output of `to_json`.

        Raises:
            ValueError: `data` is not a method space.
        """
        if set(data) - {"only_if"} != {"method", "params"} or not isinstance(data["params"], Mapping):
            raise ValueError(f"not a method space: it needs method and params, got {sorted(data)}")
        params = {str(name): dimension_from_json(value) for name, value in data["params"].items()}
        only_if = {str(name): (str(other), value) for name, (other, value) in data.get("only_if", {}).items()}
        return cls(method=str(data["method"]), params=params, only_if=only_if)


def size(dimension: Dimension) -> int | None:
    """Return the number of values of a dimension, or None for a continuous range."""
    match dimension:
        case Fixed():
            return 1
        case Choice(values=values):
            return len(values)
        case Integer(low=low, high=high) | LogInteger(low=low, high=high):
            return high - low + 1
    return 1 if dimension.low == dimension.high else None


def end_values(dimension: Dimension) -> tuple[Scalar, ...]:
    """Return the values of a choice, both ends of a range, or the fixed value."""
    match dimension:
        case Fixed(value=value):
            return (value,)
        case Choice(values=values):
            return values
    return (dimension.low, dimension.high)


def holds(dimension: Dimension, value: Any) -> bool:
    """Return whether a value lies in a dimension. True and 1 are different values."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match dimension:
        case Fixed(value=only):
            return type(value) is type(only) and value == only
        case Choice(values=values):
            return any(type(value) is type(known) and value == known for known in values)
        case Integer(low=low, high=high) | LogInteger(low=low, high=high):
            return isinstance(value, int) and number and low <= value <= high
    return number and dimension.low <= value <= dimension.high


def dimension_to_json(dimension: Dimension) -> dict[str, Any]:
    kind = {"kind": _NAMES[type(dimension)]}
    match dimension:
        case Fixed(value=value):
            return {**kind, "value": value}
        case Choice(values=values):
            return {**kind, "values": list(values)}
    return {**kind, "low": dimension.low, "high": dimension.high}


def dimension_from_json(data: Mapping[str, Any]) -> Dimension:
    """Read the output of `dimension_to_json`.

    Raises:
        ValueError: `data` is not a dimension.
    """
    fields = dict(data)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of dimension {kind!r}: one of {', '.join(_KINDS)}")
    try:
        return _KINDS[kind](**fields)
    except TypeError as error:
        raise ValueError(f"not a {kind} dimension: {error}") from None


def _require_scalar(value: Any) -> None:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"a value must be a number, a word or true/false, got {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a value must be finite, got {value}")


def _require_range(low: Any, high: Any, *, whole: bool, positive: bool) -> None:
    kind = int if whole else int | float
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, kind):
            raise ValueError(f"a bound must be a {'whole ' if whole else ''}number, got {bound!r}")
        if not math.isfinite(bound):
            raise ValueError(f"a bound must be finite, got {bound}")
    if low > high:
        raise ValueError(f"reversed range: {low} is above {high}")
    if positive and low <= 0:
        raise ValueError(f"a logarithmic range must begin above 0, got {low}")


def as_choice(values: Sequence[Scalar]) -> Dimension:
    """Return a `Choice`, or a `Fixed` if there is only one value."""
    return Fixed(values[0]) if len(values) == 1 else Choice(tuple(values))


def share_of(params: Mapping[str, Any]) -> float:
    """Return the share of its training's steps after which a trial's weights are taken."""
    return float(params.get(CHECKPOINT, 1.0))


def at_share(params: Mapping[str, Any], share: float) -> dict[str, Any]:
    """Return the same settings with the weights of another share of the training."""
    return {**params, CHECKPOINT: share}


def whole_run(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without a share: those of a training to its end."""
    return {name: value for name, value in params.items() if name != CHECKPOINT}


def title_of(number: int, params: Mapping[str, Any]) -> str:
    """Return how a trial is called: "7", or "7 at 0.5" if its weights are those at a share of its training."""
    share = share_of(params)
    return f"{number}" if share == 1 else f"{number} at {share:g}"
