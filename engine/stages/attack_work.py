"""Compute the work of an attack from its parameters: steps, rows trained on, rows read, and states to measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_sweep.engine.job import AttackSettings

CURVES = ("iterations", "forget_percent", "steps", "bits", "tokens", "shots", "wordings", "kinds")
"""Parameters that list the strengths of an attack. Each strength is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackWork:
    """Work of an attack, without the evaluation of its states.

    Attributes:
        steps: optimization steps.
        trained_rows: rows with a forward and a backward pass.
        read_rows: rows with a forward pass only.
        states: number of states to measure.
    """

    steps: int
    trained_rows: int
    read_rows: int
    states: int


def attack_work(attack: AttackSettings) -> AttackWork:
    """Return the work of an attack, without the evaluation of its states."""
    params = attack.params
    if attack.name == "chain":
        return _chain([attack_work(_link(step)) for step in params["steps"]])
    curve = next((params[name] for name in CURVES if name in params), 1)
    points = curve if isinstance(curve, list) else [curve]
    if "search_width" in params:
        steps, models = int(max(points)), 2 if attack.name == "enhanced_gcg" else 1
        rows = steps * params["prompts"] * models
        return AttackWork(steps=steps, trained_rows=rows, read_rows=rows * params["search_width"], states=len(points))
    if "steps" in params or "iterations" in params:
        steps = int(max(points))
        return AttackWork(
            steps=steps, trained_rows=steps * params.get("batch_size", 1), read_rows=0, states=len(points)
        )
    return AttackWork(steps=0, trained_rows=0, read_rows=2 * int(params.get("samples", 0)), states=len(points))


def _chain(links: list[AttackWork]) -> AttackWork:
    """Sum the work of all links. Only the states of the last link are measured."""
    return AttackWork(
        steps=sum(link.steps for link in links),
        trained_rows=sum(link.trained_rows for link in links),
        read_rows=sum(link.read_rows for link in links),
        states=links[-1].states,
    )


def _link(step: Mapping[str, Any]) -> AttackSettings:
    name, params = next(iter(step.items()))
    return AttackSettings(label=name, name=name, family="", params=dict(params))
