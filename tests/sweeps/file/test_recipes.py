"""Mistakes in the trainings of original and gold. Oracle: the places and words that a person needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.model_folders import write_model_folder
from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec


def mistakes(folder: Path, **parts: str) -> list[str]:
    try:
        parse_spec(sweep_text(**parts), folder=folder)
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        ({"model": "model: {train: {base: org/model, learning_rate: 4e-3}}"}, "model.train.learning_rate"),
        (
            {"model": "model: {train: {base: a/b}}", "gold": "gold: {train: {learning_rate: 2e-3}}"},
            "gold.train.learning_rate",
        ),
        (
            {"model": "model: {train: {base: a/b, learning_rate: 2e-2}}", "training": "training: {lora: {}}"},
            "model.train.learning_rate",
        ),
        ({"model": "model: {path: a/b}", "gold": "gold: {train: {epochs: 3}}"}, "gold.train"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, parts: dict[str, str], where: str) -> None:
    (found,) = mistakes(tmp_path, **parts)
    assert where in found


@pytest.mark.parametrize(
    "parts",
    [
        {"model": "model: {train: {base: org/model, learning_rate: 1e-3}}"},
        {"model": "model: {train: {base: a/b, learning_rate: 2e-3}}", "training": "training: {lora: {}}"},
        {"model": "model: {train: {learning_rate: 4e-3}}"},
        {"model": "model: {path: a/b}", "gold": "gold: {train: {base: a/c, epochs: 3}}"},
    ],
)
def test_what_can_be_meant_is_taken(tmp_path: Path, parts: dict[str, str]) -> None:
    assert mistakes(tmp_path, **parts) == []


@pytest.mark.parametrize(("width", "refused"), [(128, False), (576, True)])
def test_a_toy_as_base_may_learn_fast(tmp_path: Path, width: int, refused: bool) -> None:
    folder = write_model_folder(tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": width}))
    found = mistakes(tmp_path, model="model: {train: {base: ./base, learning_rate: 4e-3}}")
    assert bool(found) is refused
