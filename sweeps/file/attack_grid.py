"""A grid of attacks in a sweep file: one attack for each combination of the values that are lists.

    - grid: {relearn: {learning_rate: [2e-6, 2e-5], lora_rank: [0, 16], steps: [10, 100, 1000]}}

A list that the parameter takes itself (steps, whose states come from one training) stays as it is.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from unlearn_sweep.evaluators.attacks.catalog import ATTACKS

GRID = "grid"
FORM = "{grid: {attack: {parameter: [value, value], ...}}}"


def is_grid(item: Any) -> bool:
    return isinstance(item, dict) and set(item) == {GRID}


def axes_of(name: str, params: Mapping[str, Any]) -> list[str]:
    """Return the parameters whose list is an axis of the grid: those that take no list themselves."""
    known = ATTACKS[name].params.model_json_schema().get("properties", {}) if name in ATTACKS else {}
    return [key for key, value in params.items() if isinstance(value, list) and not _takes_list(known.get(key, {}))]


def expanded(name: str, params: Mapping[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return the parameters of each attack of a grid, and what its label says of them; in the order of the file."""
    axes = axes_of(name, params)
    combinations = itertools.product(*(params[axis] for axis in axes))
    return [({**params, **dict(zip(axes, values, strict=True))}, suffix(axes, values)) for values in combinations]


def suffix(axes: Sequence[str], values: Sequence[Any]) -> str:
    """Return the end of a label, such as "learning_rate-2e-05-lora_rank-16"."""
    said = (
        f"{axis}-{value if isinstance(value, str) else json.dumps(value)}"
        for axis, value in zip(axes, values, strict=True)
    )
    return "-".join(re.sub(r"[^\w.+-]+", "_", text.rpartition("/")[2]) for text in said)


def _takes_list(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "array" or any(map(_takes_list, schema.get("anyOf", ())))
