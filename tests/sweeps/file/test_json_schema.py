"""Oracle: jsonschema, a validator that shares no code with ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.sweeps.sweep_text import sweep_text
from tests.sweeps.test_bad_files import BAD_FILES
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.methods.catalog import METHODS
from unlearn_sweep.sweeps.file.file_schema import RecipeSection, SweepFile
from unlearn_sweep.sweeps.file.json_schema import sweep_schema
from unlearn_sweep.sweeps.file.yaml_lines import parse_document, read_document

SCHEMA = sweep_schema()


def errors(data: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(data)]


def test_it_is_a_schema_and_plain_json() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    assert json.loads(json.dumps(SCHEMA, allow_nan=False)) == SCHEMA


@pytest.mark.parametrize("path", sorted(Path("sweeps").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_fit(path: Path) -> None:
    assert errors(read_document(path).data) == []


@pytest.mark.parametrize(
    "parts",
    [
        {"methods": "methods: {npo: published, graddiff: , simnpo: {epochs: {int: [1, 3]}, delta: published}}"},
        {"attacks": "attacks: [relearn, {quantize: }, {chain: [quantize, prefill]}, {prefill: {text: x}}]"},
        {"attacks": "attacks: [{preset: full_stack}, prefill]"},
        {"search": "search: {max_concurrent: 3, constraints: {ut: '>= 0.5'}, budget: {gpu_hours: 1.5}}"},
        {"search": "search: {stop_trainings: true}"},
        {"search": "search: {stop_trainings: {rungs: [0.5], sure: 0.9}}"},
        {"gold": "gold: {train: {config: {hidden_size: 8, tie_word_embeddings: true}}}"},
        {"evaluators": "evaluators: {ut: [model_utility]}", "training": "training: {gradient_clip: null}"},
    ],
)
def test_valid_files_fit(parts: dict[str, str]) -> None:
    assert errors(parse_document(sweep_text(**parts)).data) == []


STRUCTURAL = ("unknown key", "unknown name with a near miss", "wrong type", "wrong unit", "empty")


@pytest.mark.parametrize("name", STRUCTURAL)
def test_structural_mistakes_do_not_fit(name: str) -> None:
    assert errors(parse_document(BAD_FILES[name][0]).data) != []


@pytest.mark.parametrize(
    "parts",
    [
        {"methods": "methods: {npo: {beta: -1}}"},
        {"methods": "methods: {npo: {beta: {zipf: [1, 2]}}}"},
        {"methods": "methods: {npo: {retain: {choice: [l2]}}}"},
        {"methods": "methods: {npo: {epochs: {uniform: [1, 2]}}}"},
        {"attacks": "attacks: [{relearn: {batch_size: 0}}]"},
        {"attacks": "attacks: [{chain: [relearn]}]"},
        {"attacks": "attacks: [chain]"},
        {"benchmark": "benchmark: {name: authors, path: x}"},
        {"benchmark": "benchmark: {authors: 40}"},
        {"evaluators": "evaluators: {ue: [model_utility]}"},
    ],
)
def test_single_mistakes_do_not_fit(parts: dict[str, str]) -> None:
    assert errors(parse_document(sweep_text(**parts)).data) != []


def test_every_name_is_offered() -> None:
    properties = SCHEMA["properties"]
    assert set(properties) == set(SweepFile.model_fields)
    offered = properties["methods"]["properties"]
    assert set(offered) == {name for name, card in METHODS.items() if card.kind == "method"}
    for name, form in offered.items():
        assert set(form["anyOf"][-1]["properties"]) == {param.name for param in METHODS[name].params}
    attacks = SCHEMA["$defs"]["Attack"]["anyOf"]
    assert {name for form in attacks[1:] for name in form["properties"]} == set(ATTACKS)
    assert {form["properties"]["name"]["const"] for form in properties["benchmark"]["oneOf"]} == set(BENCHMARKS)


def test_editors_can_complete_every_name() -> None:
    """yaml-language-server leaves out forms whose required options are missing, and lists objects by their titles."""
    assert SCHEMA["properties"]["benchmark"]["properties"]["name"]["enum"] == list(BENCHMARKS)
    forms = [form for form in SCHEMA["$defs"]["Attack"]["anyOf"] if form.get("type") == "object"]
    assert [form["title"] for form in forms] == [f"{name}: ..." for name in ATTACKS]


def test_a_recipe_in_a_file_has_the_fields_of_a_recipe() -> None:
    assert set(RecipeSection.model_fields) == set(TrainRecipe.__dataclass_fields__)
