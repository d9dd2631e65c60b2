"""Every sampler that a sweep file may name: built-in ones, then those of plugins. Imports neither Optuna nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from unlearn_sweep.engine.samplers.cards import SamplerCard
from unlearn_sweep.engine.samplers.interface import Sampler
from unlearn_sweep.plugins import Catalog


def _objection(card: SamplerCard) -> str | None:
    """Return what is wrong with a plugin's card, or None."""
    if not (isinstance(card.params, type) and issubclass(card.params, BaseModel)):
        return f"{card.name!r} has params {card.params!r}; wanted: a pydantic model of its options"
    if card.params.model_config.get("extra") != "forbid":
        return f'{card.name!r}: its params must refuse unknown options: model_config = ConfigDict(extra="forbid")'
    return None


SAMPLERS = Catalog(
    "samplers",
    SamplerCard,
    (
        SamplerCard(name="tpe", summary="tree-structured Parzen estimator", models=True),
        SamplerCard(name="nsga2", summary="genetic, by crowding distance", models=True),
        SamplerCard(name="nsga3", summary="genetic, by reference points", models=True),
        SamplerCard(name="gp", summary="Gaussian process of each method", models=True, by_turn=True),
        SamplerCard(name="noisy", summary="expected hypervolume gain, noise known", models=True),
        SamplerCard(name="qmc", summary="scrambled Sobol sequence of each method", by_turn=True),
        SamplerCard(name="random", summary="independent draws"),
        SamplerCard(name="grid", summary="every combination"),
    ),
    objection=_objection,
)
"""Every sampler of a sweep file."""


def sampler_card(name: str) -> SamplerCard:
    """Return the card of a sampler.

    Raises:
        ValueError: no such sampler; the message lists the names.
    """
    if name not in SAMPLERS:
        raise ValueError(f"no sampler {name!r}; there are {', '.join(SAMPLERS)}")
    return SAMPLERS[name]


def is_by_turn(name: str) -> bool:
    """Return whether a sampler proposes for one method at a time, which then takes turns with the others."""
    card = sampler_card(name)
    return card.by_turn or bool(card.target)


def build_sampler(name: str, options: Mapping[str, Any]) -> Sampler:
    """Build the sampler of a plugin with its checked options.

    Raises:
        ValueError: no such sampler, or an option is invalid.
    """
    card = sampler_card(name)
    return card.load()(card.params.model_validate(dict(options)))
