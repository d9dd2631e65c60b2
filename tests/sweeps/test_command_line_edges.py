"""What a shell makes of unset variables, and names that would steer a terminal. Oracle: exit status and words."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from tests.support.model_folders import write_model_folder
from tests.support.sweep_folder import trial, write_sweep
from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep import plugins
from unlearn_sweep.engine.privacy.secrets import redact, visible
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
    ["audit", "--model", "m", "--benchmark", "authors", "--prompt", ""],
    ["audit", "--model", "m", "--benchmark", "authors", "--attack", "prefill", "--attack", ""],
    ["audit", "--model", "m", "--benchmark", "authors", "--set", " "],
    ["audit", "--model", "m", "--benchmark", "authors", "--ue", ""],
    ["audit", "--model", "m", "--benchmark", "authors", "--plugin", ""],
    ["methods", "--plugin", ""],
    ["check-plugin", ""],
    ["sync", "runs/a", "--tracking", ""],
    ["answers", "runs/a", "--search", ""],
    ["papers", "--benchmark", ""],
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


TOO_MUCH = [
    ["plan", "s.yaml", "--trials", "99999999999"],
    ["run", "s.yaml", "--trials", "99999999999"],
    ["run", "s.yaml", "--max-concurrent", "99999999999"],
    ["audit", "--model", "m", "--benchmark", "authors", "--threads", "99999999999"],
    ["audit", "--model", "m", "--benchmark", "authors", "--seed", "99999999999"],
    ["report", "runs/a", "--gpu-hour-price", "inf"],
    ["report", "runs/a", "--gpu-hour-price", "nan"],
]


@pytest.mark.parametrize("arguments", TOO_MUCH, ids=" ".join)
def test_a_number_that_cannot_be_is_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(sweep_text())
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert arguments[-2] in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_file_without_end_is_read_no_further_than_allowed(command: str, tmp_path: Path) -> None:
    """/dev/zero has size 0 and never ends."""
    (tmp_path / "endless.py").symlink_to("/dev/zero")
    done = CliRunner().invoke(app, [command, str(tmp_path / "endless.py")])
    assert done.exit_code == 2
    assert "long" in done.stderr
    with pytest.raises(plugins.PluginError, match="longer than"):
        plugins.plugin_file(tmp_path / "endless.py")


@pytest.mark.parametrize("command", ["run", "audit"])
def test_a_storage_that_cannot_be_written_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc takes no folder, from no user. Nothing of Ray is started: that would take seconds and print."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(sweep_text())
    if command == "run":
        arguments = ["run", "s.yaml", "--plain", "--storage", "/proc/nope"]
    else:
        write_model_folder(tmp_path / "m")
        arguments = ["audit", "--model", "m", "--benchmark", "authors", "--storage", "/proc/nope"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    message, advice = done.stderr.splitlines()[-2:]
    assert message.startswith("cannot write to /proc/nope/")
    assert "--storage" in advice


def test_a_report_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A file lies where the report's folder goes."""
    sweep = write_sweep(tmp_path / "demo", [trial(0)])
    (sweep / "report").write_text("")
    done = CliRunner().invoke(app, ["report", str(sweep)])
    assert (done.exit_code, isinstance(done.exception, SystemExit)) == (2, True)
    assert str(sweep / "report") in done.stderr


@pytest.mark.parametrize("value", ["garbage", "[1]", '[{"x": 1}]', "{}x", '"text"'])
def test_a_variable_that_no_sweep_has_set_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARN_SWEEP_PLUGINS", value)
    monkeypatch.setattr(plugins, "_in_use", None)
    done = CliRunner().invoke(app, ["schema"])
    assert (done.exit_code, isinstance(done.exception, SystemExit)) == (2, True)
    assert "UNLEARN_SWEEP_PLUGINS" in done.stderr
    assert "Unset it" in done.stderr


@pytest.mark.parametrize("columns", ["0", "1", "abc", "-5", "80"])
def test_a_wrong_width_of_the_terminal_hides_nothing(
    columns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    sweep = write_sweep(tmp_path / "demo", [trial(0), trial(1)])
    assert "trial 0" in CliRunner().invoke(app, ["status", str(sweep)]).stdout


def test_every_default_of_an_argument_is_read_as_a_given_value_is() -> None:
    """A default passes through the argument's parser too; `serve` without DIR once ended in a traceback."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    read = 0
    for name, command in group.commands.items():
        context = typer.Context(command, info_name=name)
        for parameter in command.params:
            if parameter.default is not None and not parameter.multiple:
                parameter.process_value(context, parameter.get_default(context))
                read += 1
    assert read > 20
