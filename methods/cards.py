"""What the tool says of its methods: parameters with published defaults, search ranges and sources. No torch import."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["log", "uniform", "int", "log_int", "choice"]
Scalar = float | int | str | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One hyperparameter: default, legal bounds, the range `published` searches, its scale, and where they come from.

    `search` is (low, high), or the choices; None keeps the parameter at its default in a `published` space.
    `low`/`high` are hard limits (None: unbounded); `choices` lists the legal words of a choice.
    """

    name: str
    default: Scalar
    scale: Scale = "uniform"
    search: tuple[Scalar, ...] | None = None
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    choices: tuple[Scalar, ...] = ()
    source: str = ""
    unit: str = ""
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCard:
    """One method or wrapper. `cost` is relative to one plain fine-tuning step on the same forget and retain sequences.

    `needs` are the views the defaults read, then "reference:<kind>", "teacher:<kind>", "grouped" and "state" where they
    apply. `parts`
    are the methods and wrappers of a composition. `reverses`: the kept weights are the training turned round
    (`FinalWeights`), so wrappers and phases that act for the trained weights have no meaning with it.
    """

    name: str
    kind: Literal["method", "wrapper"]
    family: Literal["divergence", "representation", "rejection", "robustness", "training"]
    summary: str
    paper: str
    equation: str
    needs: tuple[str, ...]
    params: tuple[Param, ...]
    target: str
    cost: float
    parts: tuple[MethodCard, ...] = ()
    reverses: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """The modules the method's code is in; a composition's include those of all its parts."""
        own = (self.target.partition(":")[0],) if self.target else ()
        return (*own, *(module for part in self.parts for module in part.targets))

    def load(self) -> type[Any]:
        """The method's class, imported on first use."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)

    def param(self, name: str) -> Param | None:
        return next((param for param in self.params if param.name == name), None)
