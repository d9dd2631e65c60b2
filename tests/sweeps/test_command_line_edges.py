"""What a shell makes of unset variables, and names that would steer a terminal. Oracle: exit status and words."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from unlearn_sweep.engine.privacy import redact, visible
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.file.paths import absolute, check_storage
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.yaml_lines import parse_document

EMPTY = [
    ["run", ""],
    ["run", "s.yaml", "--storage", ""],
    ["run", "s.yaml", "--mirror", " "],
    ["run", "s.yaml", "--address", ""],
    ["plan", "s.yaml", "--storage", ""],
    ["validate", ""],
    ["validate", "s.yaml", "--address", ""],
    ["status", ""],
    ["report", ""],
    ["export", "runs/a", "0", ""],
    ["export", "", "0", "out"],
    ["audit", "--model", "", "--benchmark", "authors"],
    ["audit", "--model", "m", "--benchmark", ""],
    ["audit", "--model", "m", "--benchmark", "authors", "--gold", ""],
    ["audit", "--model", "m", "--benchmark", "authors", "--original", ""],
    ["audit", "--model", "m", "--benchmark", "authors", "--name", ""],
    ["audit", "--model", "m", "--benchmark", "authors", "--storage", ""],
]


@pytest.mark.parametrize("arguments", EMPTY, ids=" ".join)
def test_an_empty_path_or_name_is_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "is empty" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["$PLACE/runs", "${PLACE}/runs"])
def test_variables_in_a_path_are_expanded(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path))
    assert absolute(text, Path("/elsewhere")) == tmp_path / "runs"


def test_an_unset_variable_is_a_mistake_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    collector = ProblemCollector(parse_document("storage: $NOT_SET_HERE/runs\n", "s.yaml"))
    check_storage("$NOT_SET_HERE/runs", ("storage",), Path("/"), collector)
    (problem,) = collector.problems
    assert problem.message == "the environment has no variable NOT_SET_HERE"
    assert (problem.path, problem.line) == ("storage", 1)


def test_control_characters_are_shown_and_not_sent_to_the_terminal() -> None:
    text = "a\x1b[2Jb\x07c\rd\u202ee\x9bf\nnext\tline \u00e9\u4e2d"
    assert visible(text) == "a\\x1b[2Jb\\x07c\\rd\\u202ee\\x9bf\nnext\tline \u00e9\u4e2d"
    assert redact("\x1b]0;title\x07") == "\\x1b]0;title\\x07"
