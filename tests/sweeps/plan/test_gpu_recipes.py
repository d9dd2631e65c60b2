"""The recipes of docs/gpus.md. Oracle: what `plan` says of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.gpu_recipes import Recipe, recipes, wishes
from unlearn_sweep.sweeps.cli import app


def test_the_page_has_recipes_for_one_eight_and_sixty_four_gpus() -> None:
    assert sorted(recipe.gpus for recipe in recipes()) == [1, 8, 8, 64]
    assert [wish.at_once for wish in wishes()] == [8, 8, 2, 2, 32]


@pytest.mark.parametrize("recipe", [*recipes(), *wishes()], ids=lambda recipe: f"{recipe.gpus} {recipe.title}")
def test_as_many_trials_run_at_once_as_the_page_says(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "sweep.yaml").write_text(recipe.text)
    done = CliRunner().invoke(app, ["plan", str(tmp_path / "sweep.yaml"), *recipe.options, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["at_once"] == recipe.at_once
