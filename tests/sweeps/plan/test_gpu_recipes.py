"""The recipes of docs/gpus.md. Oracle: what `plan` says of each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unlearn_sweep.sweeps.cli import app

SECTIONS = Path("docs/gpus.md").read_text(encoding="utf-8").partition("## Recipes")[2].split("\n### ")[1:]
COMMAND = re.compile(r"`unlearn-sweep plan (sweeps/\w+\.yaml) (--gpus \d+ --gpu-gib \d+)`")
RECIPES = [section for section in SECTIONS if COMMAND.search(section)]


def test_there_are_recipes() -> None:
    assert len(RECIPES) == 3


@pytest.mark.parametrize("section", RECIPES, ids=lambda section: section.partition("\n")[0])
def test_as_many_trials_run_at_once_as_the_page_says(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found, said = COMMAND.search(section), re.search(r"\*\*(\d+) trials? at once\*\*", section)
    assert found is not None
    assert said is not None
    text = Path(found.group(1)).read_text(encoding="utf-8")
    for line in re.findall(r"```yaml\n(training: .*)\n```", section):
        text = re.sub(r"^training: .*$", line, text, flags=re.MULTILINE)
        assert line in text
    (tmp_path / "sweep.yaml").write_text(text)
    done = CliRunner().invoke(app, ["plan", str(tmp_path / "sweep.yaml"), *found.group(2).split(), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["at_once"] == int(said.group(1))
