"""docs/tutorial.md, run from its first command to its last. Oracle: every command ends with 0, and what it leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path("docs/tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SETUP = ("make setup", "source .venv/bin/activate")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def front_member(folder: Path) -> int:
    report = json.loads((folder / "runs/tutorial/report/report.json").read_text())
    return next(trial["number"] for trial in report["trials"] if trial["key"] in report["front"])


def run(command: str, folder: Path) -> str:
    """Run a line of the page in a shell, with our program on the path as an activated environment has it."""
    shim = folder / "bin" / "unlearn-sweep"
    if not shim.exists():
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m unlearn_sweep.sweeps.cli "$@"\n')
        shim.chmod(0o755)
    source = str(Path("src").resolve())
    environment = os.environ | {"PATH": f"{shim.parent}:{os.environ['PATH']}", "PYTHONPATH": source}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=420, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    said: dict[str, str] = {}
    for kind, text in BLOCK.findall(PAGE):
        if kind == "yaml":
            (tmp_path / "tutorial.yaml").write_text(text)
        elif kind == "python":
            (tmp_path / "table.py").write_text(text)
            said["table"] = run(f'"{sys.executable}" table.py', tmp_path)
        for line in [line for line in text.splitlines() if kind == "bash" and line not in SETUP]:
            number = front_member(tmp_path) if " export " in line else 0
            said[line] = run(line.replace("runs/tutorial 0", f"runs/tutorial {number}"), tmp_path)
    assert r"\begin{tabular}" in said["table"]
    assert re.search(r"(npo|graddiff) & [\d.e-]+ & \$[\d.]+ \\pm [\d.]+\$ & ", said["table"])
    assert (tmp_path / "runs/tutorial/report/index.html").is_file()
    assert list((tmp_path / "model-0").glob("*.safetensors"))
