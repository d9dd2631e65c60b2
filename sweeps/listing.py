"""List methods, metrics, attacks, benchmarks and samplers of this version as plain JSON-compatible values."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from unlearn_sweep.engine.samplers.catalog import SAMPLERS, is_by_turn
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.methods.cards import Param
from unlearn_sweep.methods.catalog import METHODS, WRAPPERS

Facts = list[dict[str, Any]]


def methods() -> Facts:
    """Return every method and wrapper with its parameters."""
    return [
        {
            "name": card.name,
            "kind": card.kind,
            "family": card.family,
            "summary": card.summary,
            "paper": card.paper,
            "equation": card.equation,
            "needs": list(card.needs),
            "cost": card.cost,
            "params": [_param(param) for param in card.params],
        }
        for card in (*METHODS.values(), *WRAPPERS.values())
    ]


def _param(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "default": param.default,
        "range": list(param.search) if param.search is not None else None,
        "scale": param.scale,
        "low": param.low,
        "high": param.high,
        "low_open": param.low_open,
        "choices": list(param.choices),
        "unit": param.unit,
        "summary": param.summary,
        "source": param.source,
    }


def evaluators() -> Facts:
    """Return every metric with the objectives it serves and the direction that is better."""
    return [
        {
            "name": card.name,
            "summary": card.summary,
            "group": card.group,
            "serves": list(card.serves),
            "needs": card.needs,
            "kinds": list(card.kinds),
            "range": list(card.range),
            "unit": card.unit,
            "better_on_forget": card.better_on_forget,
            "better_on_retain": card.better_on_retain,
            "chance": card.chance,
            "source": card.source,
        }
        for card in METRICS.values()
    ]


def attacks() -> Facts:
    """Return every attack with its threat model and parameters."""
    return [
        {
            "name": card.name,
            "summary": card.summary,
            "family": card.family,
            "threat": card.threat,
            "cost": card.cost,
            "source": card.source,
            "params": params_of(card.params),
        }
        for card in ATTACKS.values()
    ]


def benchmarks() -> Facts:
    """Return every benchmark with its options."""
    return [
        {
            "name": card.name,
            "summary": card.summary,
            "metrics": list(card.metrics),
            "licence": card.licence,
            "splits": card.splits,
            "access": card.access,
            "hub": card.hub,
            "original": card.original,
            "gold": card.gold,
            "source": card.source,
            "params": params_of(card.params),
        }
        for card in BENCHMARKS.values()
    ]


def samplers() -> Facts:
    """Return every sampler with its options."""
    return [
        {
            "name": card.name,
            "summary": card.summary,
            "learns from results": card.models,
            "one method at a time": is_by_turn(card.name),
            "params": params_of(card.params),
        }
        for card in SAMPLERS.values()
    ]


def params_of(model: type[BaseModel]) -> Facts:
    """Return the fields of a parameter model: name, default, whether required, JSON Schema of the value and summary."""
    properties = model.model_json_schema().get("properties", {})
    facts = []
    for name, field in model.model_fields.items():
        takes = {
            key: value for key, value in properties[name].items() if key not in ("title", "description", "default")
        }
        facts.append(
            {
                "name": name,
                "default": properties[name].get("default"),
                "required": field.is_required(),
                "takes": takes,
                "summary": field.description or "",
            }
        )
    return facts
