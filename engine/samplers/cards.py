"""The card of a sampler: what it is, its options, and where its code is. Imports neither Optuna nor torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.evaluators.cards import load_target


class NoOptions(BaseModel):
    """Options of a sampler that has none."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerCard:
    """A sampler that `search.sampler` may name.

    Attributes:
        name: its name in the sweep file.
        summary: how it proposes trials, in a few words.
        models: whether it learns from results, after `startup_trials` random trials.
        by_turn: whether it samples one method at a time. Every method then gets equally many trials, whatever the
            allocation. Samplers of plugins always do.
        params: model of `search.sampler_options`.
        target: "module:class" of a plugin's sampler (`unlearn_sweep.engine.samplers.interface.Sampler`); empty for the
            built-in samplers, which the broker calls directly.
    """

    name: str
    summary: str
    models: bool = False
    by_turn: bool = False
    params: type[BaseModel] = NoOptions
    target: str = ""

    @property
    def module(self) -> str:
        """The module of the class; empty for a built-in sampler."""
        return self.target.partition(":")[0]

    def load(self) -> type[Any]:
        """Return the sampler's class, imported on first use.

        Raises:
            TypeError: it has no method `point`.
        """
        found = load_target(self.target)
        if not callable(getattr(found, "point", None)):
            raise TypeError("has no method point(ask)")
        return found
