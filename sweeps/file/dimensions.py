"""Turn a parameter value in the file into a dimension of the search space, and check it against the method's card."""

from __future__ import annotations

import math
from typing import Any

from unlearn_sweep.engine.search_space import (
    Dimension,
    Fixed,
    Integer,
    LogInteger,
    LogUniform,
    Scalar,
    Uniform,
    as_choice,
)
from unlearn_sweep.methods.cards import Param
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown
from unlearn_sweep.sweeps.file.units import plain_number
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath

RANGES = ("uniform", "log", "int", "log_int")
LARGEST_WHOLE = 2**53  # beyond it, floats (and thus Optuna) cannot represent every integer
FORMS = (
    "a value, {uniform: [low, high]}, {log: [low, high]}, {int: [low, high]}, {log_int: [low, high]}, {choice: [a, b]} "
    "or published"
)


def read_dimension(param: Param, value: Any, path: KeyPath, collector: ProblemCollector) -> Dimension | None:
    """Return the dimension that a file value specifies. Report a mistake and return None if it is invalid."""
    if value == "published" and "published" not in param.choices:
        return published(param)
    if isinstance(value, dict):
        return _read_form(param, value, path, collector)
    if isinstance(value, list):
        collector.add(
            path, "a list is no space", given=shown(value), allowed=FORMS, advice=f"write {{choice: {shown(value)}}}"
        )
        return None
    scalar = read_scalar(param, value, path, collector)
    return None if scalar is None else Fixed(scalar)


def published(param: Param) -> Dimension:
    """Return the search dimension on the card; its default as a fixed value if the card has none."""
    if param.search is None:
        return Fixed(param.default)
    if param.scale == "choice":
        return as_choice(param.search)
    low, high = param.search
    return make_range(param.scale, low, high)


def make_range(scale: str, low: Any, high: Any) -> Dimension:
    """Return a range of the kind `scale`, as named in sweep files. If both ends are equal, return a fixed value."""
    whole = scale in ("int", "log_int")
    low, high = (int(low), int(high)) if whole else (float(low), float(high))
    if low == high:
        return Fixed(low)
    kinds = {"uniform": Uniform, "log": LogUniform, "int": Integer, "log_int": LogInteger}
    return kinds[scale](low, high)


def _read_form(param: Param, form: dict[str, Any], path: KeyPath, collector: ProblemCollector) -> Dimension | None:
    if len(form) != 1:
        collector.add(path, "not one space", given=shown(form), allowed=FORMS, advice="keep one of its keys")
        return None
    word, bounds = next(iter(form.items()))
    if word not in (*RANGES, "choice"):
        names = [*RANGES, "choice"]
        collector.add_unknown((*path, word), "unknown kind of space", names, listing(names))
        return None
    inner = (*path, word)
    if not collector.is_valid(inner):
        return None
    if word == "choice":
        return _read_choice(param, bounds, inner, collector)
    return _read_range(param, word, bounds, inner, collector)


def _read_choice(param: Param, values: Any, path: KeyPath, collector: ProblemCollector) -> Dimension | None:
    if not isinstance(values, list):
        collector.add(path, "of the wrong type", given=shown(values), allowed="a list: [a, b]")
        return None
    if not values:
        collector.add(path, "empty", allowed="at least one value", advice="name the values to try")
        return None
    kept: list[Scalar] = []
    for index, value in enumerate(values):
        scalar = read_scalar(param, value, (*path, index), collector)
        if scalar is None:
            continue
        if any(scalar == other and type(scalar) is type(other) for other in kept):
            collector.add((*path, index), "repeated value", given=shown(value), advice="keep it once")
        kept.append(scalar)
    return as_choice(kept) if collector.is_valid(path) else None


def _read_range(param: Param, word: str, bounds: Any, path: KeyPath, collector: ProblemCollector) -> Dimension | None:
    if not param.is_number:
        allowed = f"one of {listing(param.choices)}" if param.choices else "text"
        collector.add(path, f"{param.name} is no number", given=shown(bounds), allowed=allowed, advice="use choice")
        return None
    if not isinstance(bounds, list) or len(bounds) != 2:
        collector.add(path, "not a range", given=shown(bounds), allowed="two numbers: [low, high]")
        return None
    if param.is_whole and word in ("uniform", "log"):
        other = "int" if word == "uniform" else "log_int"
        collector.add(
            path, f"{param.name} is a whole number", given=word, allowed="int, log_int, choice", advice=f"write {other}"
        )
        return None
    whole = word in ("int", "log_int")
    ends = [read_number(param, end, (*path, index), collector, whole=whole) for index, end in enumerate(bounds)]
    low, high = ends
    if low is None or high is None:
        return None
    return _checked_range(word, low, high, bounds, path, collector)


def _checked_range(
    word: str, low: float, high: float, bounds: list[Any], path: KeyPath, collector: ProblemCollector
) -> Dimension | None:
    if low > high:
        turned = f"[{shown(bounds[1])}, {shown(bounds[0])}]"
        collector.add(path, "reversed range", given=shown(bounds), allowed="low first", advice=f"write {turned}")
        return None
    if word in ("log", "log_int") and low <= 0:
        advice = f"begin above 0, or write {'uniform' if word == 'log' else 'int'}"
        collector.add(
            path, "a logarithmic range must begin above 0", given=shown(bounds), allowed="low > 0", advice=advice
        )
        return None
    return make_range(word, low, high)


def read_scalar(param: Param, value: Any, path: KeyPath, collector: ProblemCollector) -> Scalar | None:
    """Return a valid value of a parameter. Report a mistake and return None if it is invalid."""
    if param.choices:
        return _read_choice_word(param, value, path, collector)
    if isinstance(param.default, bool):
        if isinstance(value, bool):
            return value
        collector.add(path, "of the wrong type", given=shown(value), allowed="true or false")
        return None
    if isinstance(param.default, str):
        if isinstance(value, str) and value:
            return value
        collector.add(path, "of the wrong type", given=shown(value), allowed="text")
        return None
    return read_number(param, value, path, collector, whole=param.is_whole)


def _read_choice_word(param: Param, value: Any, path: KeyPath, collector: ProblemCollector) -> Scalar | None:
    found = next(
        (word for word in param.choices if word == value and isinstance(word, bool) == isinstance(value, bool)), None
    )
    if found is None:
        words = [str(word) for word in param.choices]
        nearest = near_miss(value, words) if isinstance(value, str) else None
        advice = f"write {nearest}" if nearest else None
        collector.add(
            path, "not a valid value", given=shown(value), allowed=listing(words), nearest=nearest, advice=advice
        )
    return found


def read_number(
    param: Param, value: Any, path: KeyPath, collector: ProblemCollector, *, whole: bool
) -> float | int | None:
    """Return a number within the card's limits. Report a mistake and return None if it is invalid."""
    allowed = f"a {'whole ' if whole else ''}number{limits(param)}"
    if isinstance(value, str) and (found := plain_number(value, param.name, whole=whole)):
        collector.add(path, found[0], given=shown(value), allowed=allowed, advice=found[1])
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or (whole and not isinstance(value, int)):
        advice = f"write {value:.0f}" if isinstance(value, float) and value.is_integer() else None
        collector.add(path, "of the wrong type", given=shown(value), allowed=allowed, advice=advice)
        return None
    if not math.isfinite(value) or not param.holds(value) or (whole and abs(value) > LARGEST_WHOLE):
        collector.add(path, "out of range", given=shown(value), allowed=allowed)
        return None
    return value if whole else float(value)


def limits(param: Param) -> str:
    """Return the hard limits and the unit as text that follows "a number"."""
    return f"{param.limits()}{f', in {param.unit}' if param.unit else ''}"
