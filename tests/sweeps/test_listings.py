"""Listings and last words as a person meets them. Oracles: the catalogs, a real terminal, the shell's own search."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unlearn_sweep.engine.on_ray.dashboard import dashboard_text
from unlearn_sweep.methods.catalog import METHODS, WRAPPERS
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.programs import program

runner = CliRunner()
CLI = [sys.executable, "-m", "unlearn_sweep.sweeps.cli"]


def test_names_come_first_one_entry_on_request_and_all_with_an_option() -> None:
    names = runner.invoke(app, ["methods"]).stdout
    one = runner.invoke(app, ["methods", "npo"]).stdout
    everything = runner.invoke(app, ["methods", "--all"]).stdout
    assert all(name in names for name in (*METHODS, *WRAPPERS))
    assert "retain_weight" not in names
    assert "retain_weight" in one
    assert "simnpo" not in one
    assert everything.startswith(METHODS[next(iter(METHODS))].name)
    assert len(names.splitlines()) < 100 < len(everything.splitlines())


def test_papers_say_which_benchmarks_there_are_first() -> None:
    short = runner.invoke(app, ["papers"]).stdout
    assert len(short.splitlines()) < 60
    assert "TOFU forget10" in short
    narrow = runner.invoke(app, ["papers", "--benchmark", "MUSE-Books"], env={"COLUMNS": "60"}).stdout
    assert max(map(len, narrow.splitlines())) <= 60
    assert "RMU: KnowMem forget at full 24.4 percent" in narrow
    found = runner.invoke(app, ["papers", "--benchmark", "TOFU forget01", "--method", "Finetuned"]).stdout
    assert "\N{HORIZONTAL ELLIPSIS}" not in found
    assert found.count("0.6") > 0


@pytest.mark.parametrize("command", ["methods", "attacks", "evaluators", "benchmarks", "samplers"])
def test_on_sixty_columns_nothing_is_cut_off(command: str) -> None:
    for option in ([], ["--all"]):
        shown = runner.invoke(app, [command, *option], env={"COLUMNS": "60"}).stdout
        assert max(map(len, shown.splitlines())) <= 60
        assert "\N{HORIZONTAL ELLIPSIS}" not in shown


@pytest.mark.parametrize(("given", "nearest"), [("npoo", "npo"), ("sim-npo", "simnpo")])
def test_an_unknown_name_is_told_the_nearest(given: str, nearest: str) -> None:
    done = runner.invoke(app, ["methods", given])
    assert done.exit_code == 2
    assert f"did you mean {nearest}?" in done.stderr


def _on_a_terminal(*words: str, pager: str) -> str:
    """What a command writes to a terminal of 24 lines, whose pager is `pager`."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PAGER": pager, "TERM": "xterm", "LINES": "24", "COLUMNS": "100"}
    process = subprocess.Popen([*CLI, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    text = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        text += chunk
    process.wait(timeout=60)
    os.close(ours)
    return text.decode(errors="replace")


def test_a_long_list_goes_through_the_pager_on_a_terminal_only(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho PAGED; cat\n")
    pager.chmod(0o755)
    assert "PAGED" in _on_a_terminal("methods", "--all", pager=str(pager))
    assert "PAGED" not in _on_a_terminal("methods", "finetune", pager=str(pager))
    environment = {**os.environ, "PAGER": str(pager)}
    piped = subprocess.run([*CLI, "methods", "--all"], capture_output=True, text=True, env=environment)
    assert "PAGED" not in piped.stdout


def test_a_command_is_one_that_the_shell_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my env" / "bin"
    folder.mkdir(parents=True)
    (folder / "tool").write_text("#!/bin/sh\necho ran\n")
    (folder / "tool").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.chdir(tmp_path)
    assert program("tool") == "'my env/bin/tool'"
    assert subprocess.check_output(program("tool"), shell=True, text=True) == "ran\n"
    monkeypatch.chdir(folder)
    assert subprocess.check_output(program("tool"), shell=True, text=True) == "ran\n"
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    assert program("tool") == "tool"
    assert program("nothing-of-this-name") == "nothing-of-this-name"


def test_the_dashboards_line_shows_the_token_on_a_terminal_and_elsewhere_where_it_is(tmp_path: Path) -> None:
    url = "http://127.0.0.1:8265"
    assert dashboard_text(url, {}, tmp_path) == f"Ray dashboard: {url}"
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    assert dashboard_text(url, {}, tmp_path).endswith(f"cat {token})")
    shown = dashboard_text(url, {}, tmp_path, own_terminal=True)
    assert shown.splitlines()[1].endswith("asks for a token: secret")
    assert dashboard_text(url, {"RAY_AUTH_MODE": "disabled"}, tmp_path) == f"Ray dashboard: {url}"
    said = dashboard_text(url, {"RAY_AUTH_TOKEN": "secret"}, tmp_path)
    assert "RAY_AUTH_TOKEN" in said
    assert "secret" not in said
    other = tmp_path / "other"
    other.write_text("x")
    assert dashboard_text(url, {"RAY_AUTH_TOKEN_PATH": str(other)}, tmp_path).endswith(f"cat {other})")


def test_mlflows_own_lines_stay_out_of_the_terminal(tmp_path: Path) -> None:
    """A new database makes MLflow log at INFO, also if something imported mlflow before."""
    code = (
        "import sys, mlflow\n"
        "from unlearn_sweep.engine.tracking.runs import RunStore\n"
        "RunStore.open(sys.argv[1], 'demo')\n"
    )
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    done = subprocess.run([sys.executable, "-c", code, uri], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mlflow.db").exists()
    assert "INFO" not in done.stderr + done.stdout
