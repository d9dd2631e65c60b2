"""Which newer methods run on which benchmark as it is, and what the others ask for. Oracle: the rows of the schemas.

A method is refused for nothing but texts that nobody has written yet, and the message gives the views to add.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.published_data import write_blur, write_lkf, write_lume, write_muse, write_rwku, write_wmdp
from tests.support.written_views import write_tofu
from unlearn_sweep.sweeps.cli import app

BENCHMARKS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "authors": lambda folder: {},
    "tofu": write_tofu,
    "muse": write_muse,
    "wmdp": write_wmdp,
    "lkf": write_lkf,
    "rwku": write_rwku,
    "lume": write_lume,
    "blur": write_blur,
}
AS_THEY_ARE = ("ceu", "npo+gru", "npo+mudman", "npo+cr", "npo+sam>undo", "graddiff+cir", "rmu>undo")
LEARNS_OTHER_ANSWERS = {"altpo": "alternate_answer", "re_learn": "vague_answer"}


def validated(folder: Path, name: str, methods: str, views: str = "") -> tuple[int, str]:
    options = {"name": name, **BENCHMARKS[name](folder / name)}
    folder.mkdir(exist_ok=True)
    file = folder / "sweep.yaml"
    file.write_text(
        f"name: a\nbenchmark: {json.dumps(options)}\nmethods: {methods}\ngold: {{floor: chance}}\n"
        f"{views}attacks: [relearn]\nstorage: {folder / 'runs'}\n"
    )
    done = CliRunner().invoke(app, ["validate", str(file)])
    return done.exit_code, " ".join((done.output + done.stderr).split())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_nothing_is_said_against_what_reads_forget_and_retain_rows(tmp_path: Path, name: str) -> None:
    code, said = validated(tmp_path, name, "{" + ", ".join(f"{method}: {{}}" for method in AS_THEY_ARE) + "}")
    assert code == 0, said


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("method", LEARNS_OTHER_ANSWERS)
def test_what_lacks_texts_names_the_views_and_the_command_that_writes_them(
    tmp_path: Path, name: str, method: str
) -> None:
    code, said = validated(tmp_path, name, f"{{{method}: {{}}}}")
    found = re.search(r"add views: (\[.*?\]) and run unlearn-sweep write-views", said)
    if found is None:
        assert (code, name, method) in {(0, "authors", "altpo")}, said
        return
    assert code == 2
    assert LEARNS_OTHER_ANSWERS[method] in found[1]
    with_views = validated(tmp_path / "again", name, f"{{{method}: {{}}}}", f"views: {found[1]}\n")[1]
    assert f"method {method} reads view {LEARNS_OTHER_ANSWERS[method]}" in with_views
    assert "which is not written: run unlearn-sweep write-views" in with_views
