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

    @property
    def is_number(self) -> bool:
        return not self.choices and not isinstance(self.default, bool | str)

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are legal."""
        return self.is_number and self.scale in ("int", "log_int")

    def holds(self, value: float) -> bool:
        """Return whether a number is within the hard limits."""
        above = self.low is None or value > self.low or (value == self.low and not self.low_open)
        return above and (self.high is None or value <= self.high)

    def limits(self) -> str:
        """Return the hard limits as text that follows "a number": " > 0 and <= 1"; empty if there are none."""
        low = "" if self.low is None else f" {'>' if self.low_open else '>='} {self.low:g}"
        high = "" if self.high is None else f"{' and' if low else ''} <= {self.high:g}"
        return f"{low}{high}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCard:
    """One method or wrapper. `cost` is relative to one plain fine-tuning step on the same forget and retain sequences.

    `needs` are the views the defaults read, then "reference:<kind>", "teacher:<kind>", "grouped", "state" and "noise"
    where they apply. `parts` are the methods and wrappers of a composition. `reverses`: the kept weights are the
    training turned round (`FinalWeights`), so wrappers and phases that act for the trained weights have no meaning with
    it. `follows`: behind another method (`npo>undo`) it is a training of its own that starts from the model the other
    one leaves.
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
    follows: bool = False

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
