"""What a measuring process and its workers send each other over a socket: pickled, between processes of one program."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearn_sweep.evaluators.model_batches import ModelBatch

NUMBERS = itertools.count(1)
"""Numbers of the models that a process gives to its workers from files, or from folders that have others later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model folder or hub id, and how it is loaded: the arguments of `engine.models.loading.load_model`.

    `number` tells apart models that lay at one path after each other; 0 where a path never has another model.
    """

    path: str
    dtype: str
    attention: str
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenModel:
    """A model as the measuring process had it in memory, hooks and changed modules included, in a file of its own.

    `number` tells the models of one process apart, since a path may be used again.
    """

    path: str
    number: int


ModelSource = StoredModel | WrittenModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Load a model, and compute a batch on it unless that is None, with so many threads."""

    source: ModelSource
    batch: ModelBatch[Any] | None
    threads: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a task. `unusable`: the worker cannot have this model, for this reason; others may."""

    value: Any = None
    error: Exception | None = None
    unusable: str | None = None
