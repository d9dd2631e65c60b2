"""The pages of docs/ and README: every command in them exists with its options, and the site's own pages are complete.

Oracles: the command line itself and the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from unlearn_sweep.engine.on_ray.dashboard import grafana_file
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.command_page import render

DOCS = Path("docs")
PAGES = [Path("README.md"), *(page for page in sorted(DOCS.glob("*.md")) if page.stem != "commands")]
"""The command reference is written from the command line itself."""
BLOCK = re.compile(r"^```(?:bash|console|sh)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(unlearn-sweep [^`]+)`")
GROUP = typer.main.get_command(app)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each call of our program, in blocks and in running text. What follows a pipe or `>` is cut off."""
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *INLINE.findall(text.replace("\n", " "))]:
        found = re.search(r"(?:^|/|\s)unlearn-sweep (.*)", line.partition(" #")[0].partition(" '")[0])
        if found and not line.lstrip().startswith(("#", "<", "Status", "MLflow")):
            words = re.split(r"[>|&;]", found.group(1))[0].replace("[", "").replace("]", "").split()
            if words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
                yield words


CALLS = [(page.name, words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]


def test_there_are_calls_to_check() -> None:
    assert len(CALLS) > 80


@pytest.mark.parametrize(
    ("page", "words"), CALLS, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_a_call_names_a_command_and_options_that_exist(page: str, words: list[str]) -> None:
    assert isinstance(GROUP, TyperGroup)
    command = GROUP.get_command(typer.Context(GROUP), words[0])
    assert command is not None, f"{page}: there is no command {words[0]}"
    context = typer.Context(command, info_name=words[0])
    known = {option for parameter in command.get_params(context) for option in parameter.opts}
    used = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
    assert used <= known, f"{page}: unlearn-sweep {words[0]} has no {sorted(used - known)}"
    most = sum(
        1 if parameter.nargs == 1 else 99 for parameter in command.params if parameter.param_type_name == "argument"
    )
    flags = {name for parameter in command.params if getattr(parameter, "is_flag", False) for name in parameter.opts}
    given = [
        word
        for before, word in zip(["", *words[1:]], words[1:], strict=False)
        if not word.startswith("-") and not (before.startswith("--") and before not in flags and "=" not in before)
    ]
    assert len(given) <= most, f"{page}: unlearn-sweep {words[0]} takes {most} arguments, not {given}"


def test_the_command_reference_is_up_to_date() -> None:
    module = "unlearn_sweep.sweeps.command_page"
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == render(), f"run: python -m {module} > docs/commands.md"


def test_every_page_is_in_the_site() -> None:
    listed = re.findall(r"^[a-z_-]+$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.stem for page in DOCS.glob("*.md") if page.stem != "index")


def test_the_dashboards_metrics_are_those_that_are_exported() -> None:
    """Oracle: the names in the code that exports them, as Ray and Prometheus extend them."""
    code = Path("engine/on_ray/metrics.py").read_text(encoding="utf-8")
    names = set(re.findall(r'_gauge\("(\w+)"', code)) | set(re.findall(r'f"\{PREFIX\}(\w+)"', code))
    used = set(re.findall(r"ray_unlearn_sweep_(\w+)", grafana_file().read_text(encoding="utf-8")))
    assert {re.sub(r"_(total|sum|count|bucket)$", "", name) for name in used} <= names
    assert names <= {re.sub(r"_(total|sum|count|bucket)$", "", name) for name in used}
