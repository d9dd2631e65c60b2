"""Settings of the training that a sweep searches: dimensions of every method's space, named `training.<setting>`.

A nested setting has a dotted name: `training.lora.rank`. Methods never see these parameters. They change the settings
of the trial's training before its stage gets its key, so a trial shares its training with any other that has the same
settings, searched or fixed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from unlearn_sweep.engine.search_space import MethodSpace, Scalar, end_values
from unlearn_sweep.engine.training.settings import TrainingSettings

PREFIX = "training."
MOST_COMBINATIONS = 1024


def own_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that belong to the method itself."""
    return {name: value for name, value in params.items() if not name.startswith(PREFIX)}


def training_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are searched settings of the training, by their full names."""
    return {name: value for name, value in params.items() if name.startswith(PREFIX)}


def training_values(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the searched settings of the training by their dotted names, without the prefix."""
    return {name.removeprefix(PREFIX): value for name, value in training_params(params).items()}


def trained_with(settings: TrainingSettings, params: Mapping[str, Any]) -> TrainingSettings:
    """Return the settings of a trial's training: those of the sweep, with the trial's own values.

    Raises:
        ValueError: a value is not allowed (pydantic.ValidationError is a ValueError).
    """
    return settings.with_values(training_values(params))


def settings_to_try(settings: TrainingSettings, space: MethodSpace) -> Iterator[TrainingSettings]:
    """Yield the settings at every choice and both ends of every range that is searched.

    All combinations, or each value alone where there are more than `MOST_COMBINATIONS`.

    Raises:
        ValueError: a combination is not allowed.
    """
    ends: dict[str, tuple[Scalar, ...]] = {
        name: end_values(dimension) for name, dimension in training_values(space.params).items()
    }
    if math.prod(map(len, ends.values())) <= MOST_COMBINATIONS:
        for values in itertools.product(*ends.values()):
            yield settings.with_values(dict(zip(ends, values, strict=True)))
        return
    for name, values in ends.items():
        yield from (settings.with_values({name: value}) for value in values)
