"""What docs/gpus.md and `plan` say of 1, 8 and 64 GPUs. Oracle: what Ray places, on GPUs that it takes on trust."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.gpu_recipes import Recipe, recipes, wishes
from unlearn_sweep.sweeps.cli import app

ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_prestart_worker_first_driver": "0",  # Ray would start a process for each of 512 CPUs
    "HF_HUB_OFFLINE": "1",
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


def placed(gpus: int, files: list[Path]) -> list[dict[str, float]]:
    """How many trials of each file a Ray of its own places while they train, while they measure, and one more."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.gpu_placing", str(gpus), *map(str, files)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line.removeprefix("PLACED ")) for line in done.stdout.splitlines() if line.startswith("PLACED ")]


def planned(recipe: Recipe, file: Path) -> dict[str, object]:
    done = CliRunner().invoke(app, ["plan", str(file), *recipe.options, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("gpus", [1, 8, 64])
def test_ray_places_as_many_trials_as_page_and_plan_say(
    gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the wishes are ZeRO over four GPUs and quarters of one. One trial more finds no room where GPUs bind."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = [recipe for recipe in (*recipes(), *wishes()) if recipe.gpus == gpus]
    assert asked
    files = [tmp_path / f"{number}.yaml" for number in range(len(asked))]
    for recipe, file in zip(asked, files, strict=True):
        file.write_text(recipe.text)
    for recipe, file, found in zip(asked, files, placed(gpus, files), strict=True):
        plan = planned(recipe, file)
        assert found["at_once"] == plan["at_once"] == recipe.at_once, recipe.title
        assert found["training"] == found["measuring"] == recipe.at_once, recipe.title
        bound_by_gpus = plan["bound_by"] == "GPU"
        assert found["one_more"] == (0 if bound_by_gpus else 1), recipe.title
        assert found["idle_gpus"] == pytest.approx(0 if bound_by_gpus else gpus - recipe.at_once), recipe.title
