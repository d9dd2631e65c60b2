"""Find methods that an optimizer of the sweep cannot train, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import MethodSpace, end_values
from unlearn_sweep.engine.training_space import settings_to_try
from unlearn_sweep.methods.cards import MethodCard
from unlearn_sweep.methods.catalog import card

LOGIT_TERMS = frozenset({"nll", "kl", "jsd"})
"""Retain terms of representation methods that read logits."""
PUSHED = "lat"
"""The wrapper whose adversary follows gradients."""


def optimizer_obstacles(job: SweepJob) -> Iterator[str]:
    """Yield one sentence for each method that an optimizer of the sweep cannot train."""
    for space in job.spaces:
        known = set[str]()
        for settings in settings_to_try(job.training, space):
            by_gradients = "grouped" in card(space.method).needs or PUSHED in _names(card(space.method))
            if settings.optimizer == "zeroth_order" and by_gradients:
                known.add(
                    f"method {space.method} works with gradients, and optimizer zeroth_order makes none: "
                    "leave one of them out"
                )
            draws = settings.optimizer == "sophia" and settings.sophia.curvature == "gauss_newton"
            if draws and not _reads_logits(space):
                known.add(
                    f"method {space.method} reads no logits from which sophia could draw targets: "
                    "write training: {sophia: {curvature: gradient}}"
                )
        yield from sorted(known)


def _names(entry: MethodCard) -> set[str]:
    return {entry.name, *(name for part in entry.parts for name in _names(part))}


def _reads_logits(space: MethodSpace) -> bool:
    """Return whether a method's forward always reaches the logits; a representation method's may stop below them."""
    entry = card(space.method)
    families = {part.family for part in (entry.parts or (entry,))}
    if "representation" not in families:
        return True
    retain = [dimension for name, dimension in space.params.items() if name.rpartition(".")[2] == "retain"]
    return bool(retain) and all(value in LOGIT_TERMS for dimension in retain for value in end_values(dimension))
