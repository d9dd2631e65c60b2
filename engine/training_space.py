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

from unlearn_sweep.engine.search_space import CHECKPOINT, Choice, Dimension, MethodSpace, Scalar, Uniform, end_values
from unlearn_sweep.engine.training.settings import TrainingSettings

PREFIX = "training."
MOST_COMBINATIONS = 1024
SHARE_DIGITS = 6
LOWEST_SHARE = 1e-6


def own_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that belong to the method itself."""
    return {name: value for name, value in params.items() if not name.startswith(PREFIX)}


def training_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are searched settings of the training, by their full names."""
    return {name: value for name, value in params.items() if name.startswith(PREFIX)}


def training_values(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the searched settings of the training by their dotted names, without the prefix."""
    found = training_params(params)
    return {name.removeprefix(PREFIX): value for name, value in found.items() if name != CHECKPOINT}


def checkpoint_shares(settings: TrainingSettings, params: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the shares at which a training with these parameters is measured, the last one first; (1.0,) by default.

    `each_epoch` measures after each pass; the last one may be a part of a pass.
    """
    if settings.checkpoints is None or CHECKPOINT not in params:
        return (1.0,)
    if settings.checkpoints != "each_epoch":
        return tuple(sorted(settings.checkpoints, reverse=True))
    epochs = float(params["epochs"] if "epochs" in params else trained_with(settings, params).resolved().epochs or 1)
    inner = [round(number / epochs, SHARE_DIGITS) for number in range(1, math.ceil(epochs))]
    return (1.0, *reversed(inner))


def checkpoint_dimension(settings: TrainingSettings) -> Dimension | None:
    """Return the dimension of the share; None if only the ends of trainings are measured."""
    if settings.checkpoints is None or settings.checkpoints == (1.0,):
        return None
    if settings.checkpoints == "each_epoch":
        return Uniform(LOWEST_SHARE, 1.0)
    return Choice(tuple(sorted(settings.checkpoints, reverse=True)))


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
