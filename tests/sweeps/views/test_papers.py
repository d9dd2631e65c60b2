"""Files of single papers: valid and planned once their views are written. Oracle: validate and plan themselves.

Rows are in the published schema and the model is one that the sweep makes, since nothing of the hub is here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.evaluators.judge.server import serving
from tests.support.written_views import write_tofu, writes
from tests.sweeps.views.test_write_views import name_writer, run, written

FOLDER = Path(__file__).parents[3] / "sweeps" / "papers"


def on_made_rows(name: str, folder: Path) -> Path:
    """The file with its rows and base model replaced, and nothing else."""
    text = (FOLDER / f"{name}.yaml").read_text()
    options = json.dumps({"name": "tofu", **write_tofu(folder / "tofu")})
    text = re.sub(r"^benchmark: .*$", f"benchmark: {options}", text, flags=re.MULTILINE)
    text = re.sub(r"^gold: .*\n", "", text, flags=re.MULTILINE).replace("base: Qwen/Qwen3-1.7B, ", "")
    text = re.sub(r"^prompt: .*\n", "", text, flags=re.MULTILINE).replace(
        "storage: runs", f"storage: {folder / 'runs'}"
    )
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return file


def test_the_only_mistake_of_gaos_file_is_the_view_that_is_not_written() -> None:
    refused = run("validate", FOLDER / "gao.yaml")
    assert refused.exit_code == 2
    assert "1 mistake; nothing was started or written" in refused.stderr
    assert "method npo+gao reads view paraphrase of forget, which is not written" in refused.stderr


def test_gaos_file_is_valid_and_planned_with_its_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = on_made_rows("gao", tmp_path)
    with serving(writes) as endpoint:
        name_writer(monkeypatch, endpoint)
        (report,) = written(run("write-views", file, "--json"))
    assert report["texts"] == 8 * 6
    assert run("validate", file).exit_code == 0, run("validate", file).output
    plan = json.loads(run("plan", file, "--json").stdout)
    assert plan["obstacles"] == []
    assert plan["methods"][0]["method"] == "npo+gao"
    assert [method["trials"] for method in plan["methods"]] == [5] * 6, "one fixed point, measured after each epoch"
    assert all(method["searched"] == ["training.checkpoint"] for method in plan["methods"])
