"""Hostile text in names, paths, records, answers and plugins, in every command. Oracle: the bytes that reach stdout.

The text clears a screen, rings, sets colours by one byte (C1), reverses direction and is not UTF-8 (a lone surrogate).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from tests.support.answered_sweep import write_answered_sweep
from tests.support.docs_pages import examples
from tests.support.plugin_text import METHOD
from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.plugins import use
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.report.progress import LiveProgress
from unlearn_sweep.sweeps.screen import Screen

NASTY = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2066\r\x08"
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SHOWN = "\\x1b[2J"
ESCAPED = repr(NASTY)[1:-1]
PLUGINS = {**examples("extend.md"), "my_method.py": METHOD}
runner = CliRunner()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder whose name, sweep, records, events and plugins hold the text."""
    folder = tmp_path / f"in {NASTY}"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "good.yaml").write_text(sweep_text())
    (folder / "bad.yaml").write_text(json.dumps({"name": NASTY, NASTY: NASTY, "methods": {NASTY: NASTY}}))
    for name, text in PLUGINS.items():
        (folder / name).write_text(text.replace('summary="', f'summary="{ESCAPED} '))
    (folder / "failing.py").write_text(f"raise RuntimeError({NASTY!r})")
    sweep = write_answered_sweep(folder / "runs" / "demo")
    record = TrialRecord.model_validate_json((sweep / "trials" / "1.json").read_bytes())
    failed = record.model_copy(update={"number": 2, "key": "c", "method": NASTY, "state": "failed", "reason": NASTY})
    (sweep / "trials" / "2.json").write_text(failed.model_dump_json())
    log = EventLog(sweep / "events.jsonl")
    log.append("note", reason=NASTY)
    log.append("trial_asked", trial=3, data={"method": NASTY, "params": {NASTY: NASTY}, "key": NASTY})
    log.append("trial_started", trial=3)
    log.append("stage_started", trial=3, stage=NASTY, stage_key="k")
    yield folder
    use(())


COMMANDS = {
    "methods": ["methods", "--plugin", "my_method.py"],
    "evaluators": ["evaluators", "--plugin", "my_metric.py"],
    "attacks": ["attacks", "--plugin", "my_attack.py"],
    "benchmarks": ["benchmarks", "--plugin", "my_benchmark.py"],
    "samplers": ["samplers", "--plugin", "my_sampler.py"],
    "methods --json": ["methods", "--plugin", "my_method.py", "--json"],
    "a plugin that raises": ["methods", "--plugin", "failing.py"],
    "a plugin that is missing": ["methods", "--plugin", f"{NASTY}.py"],
    "check-plugin, raising": ["check-plugin", "failing.py"],
    "check-plugin": ["check-plugin", "my_metric.py"],
    "validate": ["validate", "good.yaml"],
    "validate --json": ["validate", "good.yaml", "--json"],
    "validate, bad": ["validate", "bad.yaml"],
    "validate, bad, --json": ["validate", "bad.yaml", "--json"],
    "validate, missing": ["validate", f"{NASTY}.yaml"],
    "plan": ["plan", "good.yaml", "--cpus", "4"],
    "plan --json": ["plan", "good.yaml", "--cpus", "4", "--json"],
    "plan, storage": ["plan", "good.yaml", "--storage", NASTY],
    "run, missing": ["run", f"{NASTY}.yaml"],
    "run, example": ["run", "--example", NASTY],
    "run, address": ["run", "good.yaml", "--address", f"ray://{NASTY}"],
    "example": ["example", NASTY],
    "status": ["status", "runs/demo"],
    "status --json": ["status", "runs/demo", "--json"],
    "status, missing": ["status", NASTY],
    "report": ["report", "runs/demo"],
    "report --json": ["report", "runs/demo", "--json"],
    "answers": ["answers", "runs/demo"],
    "answers --json": ["answers", "runs/demo", "--json"],
    "answers, attack": ["answers", "runs/demo", "--attack", NASTY],
    "export, missing": ["export", "runs/demo", NASTY, "out"],
    "export, failed": ["export", "runs/demo", "2", "out"],
    "sync": ["sync", "runs/demo", "--tracking", f"nothing://{NASTY}"],
    "audit": ["audit", "--model", NASTY, "--benchmark", NASTY, "--attack", NASTY, "--set", f"{NASTY}={NASTY}"],
    "audit --json": ["audit", "--model", NASTY, "--benchmark", "authors", "--json"],
    "an unknown command": [NASTY],
    "an unknown option": ["status", f"--{NASTY}"],
    "an unknown option of all": [f"--{NASTY}"],
    "a word too many": ["status", "runs/demo", NASTY],
    "no number": ["plan", "good.yaml", "--trials", NASTY],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_sends_control_characters_to_the_terminal(name: str, place: Path) -> None:
    done = runner.invoke(app, COMMANDS[name])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    printed = done.stdout + done.stderr
    assert printed
    assert RAW.findall(printed) == []
    if "--json" in COMMANDS[name]:
        json.loads(done.stdout)


def test_the_text_is_shown_escaped_and_not_dropped(place: Path) -> None:
    assert SHOWN in runner.invoke(app, ["status", "runs/demo"]).stdout
    assert SHOWN in runner.invoke(app, ["methods", "--plugin", "failing.py"]).stderr
    assert SHOWN in runner.invoke(app, ["methods", "--plugin", "my_method.py"]).stdout


def screen() -> tuple[Screen, io.StringIO]:
    file = io.StringIO()
    return Screen(file=file, force_terminal=True, width=200, color_system="truecolor"), file


def test_a_terminal_gets_colours_and_nothing_else_of_a_text() -> None:
    console, file = screen()
    table = Table(NASTY, title=NASTY)
    table.add_row(Text(NASTY, style="red"))
    console.print(table, Text(NASTY, style="bold"), f"[bold]{NASTY}[/bold] :bomb: [/not a tag]")
    assert "[bold]" in COLOUR.sub("", file.getvalue())
    assert RAW.findall(COLOUR.sub("", file.getvalue())) == []
    assert COLOUR.search(file.getvalue())


def test_a_live_view_escapes_too() -> None:
    """Rich moves the cursor itself in a live view; the text between its codes is escaped."""
    console, file = screen()
    with Live(Text(NASTY), console=console, auto_refresh=False) as live:
        live.update(Table(NASTY), refresh=True)
    own = re.sub(r"\x1b\[(\?25[lh]|[0-9;]*[mAKJ])|\r", "", file.getvalue())
    assert "owned" in own
    assert RAW.findall(own) == []


def test_the_live_progress_of_a_sweep_escapes(place: Path) -> None:
    console, file = screen()
    with LiveProgress(place / "runs" / "demo", 5, console=console, plain=True):
        pass
    assert RAW.findall(COLOUR.sub("", file.getvalue())) == []


def test_a_file_name_that_is_not_utf8_is_shown(tmp_path: Path) -> None:
    """As the shell passes it; printing it would raise UnicodeEncodeError."""
    done = runner.invoke(app, ["status", f"{tmp_path}/caf\udce9"])
    assert (done.exit_code, "caf\\udce9" in done.stderr) == (2, True)


def test_help_is_not_affected() -> None:
    assert isinstance(app, typer.Typer)
    assert "Usage" in runner.invoke(app, ["--help"]).stdout
