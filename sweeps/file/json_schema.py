"""Generate the JSON Schema of the sweep file, which lets editors complete and check it.

It is generated from the same models and cards that the file is checked with. Rules that a schema cannot express, such
as rules between two fields or the machine's size, are checked by `unlearn-sweep validate` only.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from unlearn_sweep.engine.samplers.catalog import SAMPLERS
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS, CHAIN
from unlearn_sweep.evaluators.attacks.presets import PRESETS
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.evaluators.benchmarks.view_settings import KINDS
from unlearn_sweep.evaluators.cards import AttackCard, BenchmarkCard, MetricCard
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.catalog import METHODS
from unlearn_sweep.sweeps.file.attack_grid import GRID
from unlearn_sweep.sweeps.file.attacker_search import FLOOR, MOST_TRIALS, SEARCH, TRIALS
from unlearn_sweep.sweeps.file.attacks import PRESET
from unlearn_sweep.sweeps.file.dimensions import RANGES
from unlearn_sweep.sweeps.file.file_schema import SweepFile
from unlearn_sweep.sweeps.file.training import searchable_params, section_model

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def sweep_schema() -> Schema:
    """Return the complete, self-contained schema."""
    schema = SweepFile.model_json_schema()
    definitions: Schema = schema.setdefault("$defs", {})
    properties: Schema = schema["properties"]
    properties["methods"] |= _methods()
    properties["attacks"]["items"] = {"anyOf": [{"$ref": "#/$defs/Attack"}, _preset(), _grid()]}
    properties["views"]["items"] = _view(definitions)
    properties["benchmark"] = {
        "description": properties["benchmark"]["description"],
        "required": ["name"],
        # Editors leave out the forms below whose required options are not written yet; these names they always offer.
        "properties": {"name": {"enum": list(BENCHMARKS)}},
        "oneOf": [_benchmark(card, definitions) for card in BENCHMARKS.values()],
    }
    definitions["Attack"] = _attack(definitions)
    _metric_names(definitions["EvaluatorsSection"])
    _searched_settings(definitions)
    names = [{"const": card.name, "description": card.summary} for card in SAMPLERS.values()]
    definitions["SearchSection"]["properties"]["sampler"] |= {"oneOf": names}
    return {
        "$schema": DIALECT,
        "title": "unlearn-sweep sweep file",
        **{k: v for k, v in schema.items() if k != "title"},
    }


COMPOSITION = "^[a-z0-9_ ]+[+>][a-z0-9_+> ]*$"
COMPOSED: Schema = {
    "description": "a method with wrappers around it (npo+sam+irm), or two methods in turn (dpo>idk_ap)",
    "anyOf": [{"const": "published"}, {"type": "null"}, {"type": "object"}],
}

# --- methods -----------------------------------------------------------------------------------------------------


def _methods() -> Schema:
    named = {card.name: _method(card) for card in METHODS.values() if card.kind == "method"}
    return {
        "type": "object",
        "properties": named,
        "patternProperties": {COMPOSITION: COMPOSED},
        "additionalProperties": False,
        "minProperties": 1,
    }


def _method(card: MethodCard) -> Schema:
    params = {
        "type": "object",
        "properties": {param.name: _param(param) for param in card.params},
        "additionalProperties": False,
    }
    return {
        "description": f"{card.summary} ({card.paper})",
        "anyOf": [{"const": "published", "description": "the method's own ranges"}, {"type": "null"}, params],
    }


def _param(param: Param) -> Schema:
    """Return the schema of a parameter: a value or a search space."""
    scalar = _scalar(param)
    choice = {"type": "array", "items": scalar, "minItems": 1, "uniqueItems": True}
    forms = [scalar, {"const": "published"}, _form("choice", choice)]
    if param.is_number:
        words = ("int", "log_int") if param.is_whole else ("uniform", "log", "int", "log_int")
        forms += [_form(word, _range(param, word)) for word in words]
    description = f"{param.summary}; default {param.default}" + (f", in {param.unit}" if param.unit else "")
    return {"description": description, "default": param.default, "anyOf": forms}


def _form(word: str, value: Schema) -> Schema:
    """Return the schema of a mapping with one key. Editors list it by its title."""
    form: Schema = {"type": "object", "title": f"{word}: ...", "properties": {word: value}}
    return form | {"required": [word], "additionalProperties": False}


def _range(param: Param, word: str) -> Schema:
    end = _limits(param, {"type": "integer" if word in ("int", "log_int") else "number"})
    return {"type": "array", "items": end, "minItems": 2, "maxItems": 2}


def _scalar(param: Param) -> Schema:
    if param.choices:
        return {"enum": list(param.choices)}
    if isinstance(param.default, bool):
        return {"type": "boolean"}
    if isinstance(param.default, str):
        return {"type": "string", "minLength": 1}
    return _limits(param, {"type": "integer" if param.is_whole else "number"})


def _limits(param: Param, schema: Schema) -> Schema:
    if param.low is not None:
        schema["exclusiveMinimum" if param.low_open else "minimum"] = param.low
    if param.high is not None:
        schema["maximum"] = param.high
    return schema


# --- attacks, benchmarks, metrics --------------------------------------------------------------------------------


def _attack(definitions: Schema) -> Schema:
    """Return the schema of an attack: a name, or a mapping with one name as its key."""
    forms: list[Schema] = [{"enum": [name for name in ATTACKS if name != CHAIN]}]
    for card in ATTACKS.values():
        if card.name == CHAIN:
            params: Schema = {"type": "array", "items": {"$ref": "#/$defs/Attack"}, "minItems": 2}
            params = {"anyOf": [params, {**_form("steps", dict(params))}]}
        else:
            params = {"anyOf": [_model(card.params, definitions), {"type": "null"}]}
            for name, schema in _attacker_search(card).items():
                definitions[card.params.__name__].setdefault("properties", {}).setdefault(name, schema)
        forms.append(_form(card.name, {"description": f"{card.summary}; threat model: {card.threat}", **params}))
    return {"description": "one attack; each trial has to stand all of them", "anyOf": forms}


def _attacker_search(card: AttackCard) -> Schema:
    """Return the schemas of the keys that turn an attack into a searched attacker."""
    two = {"type": "array", "minItems": 2}
    space = {"anyOf": [_form(word, {**two, "maxItems": 2}) for word in RANGES] + [_form("choice", dict(two))]}
    trials = {
        "type": "integer",
        "minimum": 2,
        "maximum": MOST_TRIALS,
        "description": "settings, the attack's own first",
    }
    search = {
        "type": "object",
        "description": "searched parameters of the attacker",
        "properties": {TRIALS: trials, **{name: space for name in card.params.model_fields}},
        "required": [TRIALS],
        "additionalProperties": False,
    }
    floor = "least share of a model's utility that an attacked state must keep to count"
    return {SEARCH: search, FLOOR: {"type": "number", "minimum": 0, "maximum": 1, "description": floor}}


def _view(definitions: Schema) -> Schema:
    """Return the schema of a written view: a kind, or a mapping with one kind as its key."""
    options = [
        _form(kind.name, {"description": kind.summary, "anyOf": [_model(kind.options, definitions), {"type": "null"}]})
        for kind in KINDS.values()
    ]
    return {"anyOf": [{"enum": list(KINDS)}, *options]}


def _preset() -> Schema:
    """Return the schema of a preset, which is a named list of attacks."""
    names = [{"const": name, "description": preset.summary} for name, preset in PRESETS.items()]
    return _form(PRESET, {"description": "the attacks of a published evaluation", "anyOf": names})


def _grid() -> Schema:
    """Return the schema of a grid: an attack with lists of values, one attack for each combination."""
    attack = {"type": "object", "minProperties": 1, "maxProperties": 1, "propertyNames": {"enum": list(ATTACKS)}}
    return _form(GRID, {"description": "one attack for each combination of listed values", **attack})


def _benchmark(card: BenchmarkCard, definitions: Schema) -> Schema:
    params = _inline(card.params, definitions)
    properties = {"name": {"const": card.name, "description": card.summary}, **params.get("properties", {})}
    return {
        "type": "object",
        "title": card.name,
        "properties": properties,
        "required": ["name", *params.get("required", [])],
        "additionalProperties": False,
    }


def _model(model: type[BaseModel], definitions: Schema) -> Schema:
    definitions[model.__name__] = _inline(model, definitions)
    return {"$ref": f"#/$defs/{model.__name__}"}


def _inline(model: type[BaseModel], definitions: Schema) -> Schema:
    """Return the schema of a model. Move the definitions that it refers to into `definitions`."""
    schema = model.model_json_schema()
    definitions.update(schema.pop("$defs", {}))
    return schema


def _searched_settings(definitions: Schema) -> None:
    """Let each setting of the training that a sweep can search be a space too."""
    for name, param in searchable_params():
        section, _, own = name.rpartition(".")
        model = TrainingSettings if not section else section_model(section)
        plain = definitions[model.__name__]["properties"][own]
        noted = {key: plain.pop(key) for key in ("description", "default") if key in plain}
        spaces = [form for form in _param(param)["anyOf"] if form.get("type") == "object"]
        definitions[model.__name__]["properties"][own] = {**noted, "anyOf": [plain, *spaces]}


def _metric_names(section: Schema) -> None:
    """Restrict the metrics of both objectives to the known names."""
    for objective in ("ue", "ut"):
        names = [{"const": card.name, "description": card.summary} for card in _serving(objective)]
        for form in section["properties"][objective]["anyOf"]:
            if form.get("type") == "array":
                form["items"] = {"oneOf": names}


def _serving(objective: str) -> list[MetricCard]:
    return [card for card in METRICS.values() if objective in card.serves]
