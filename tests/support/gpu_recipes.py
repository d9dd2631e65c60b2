"""What docs/gpus.md says of trials at once: its recipes, and its table of wishes for 8 GPUs, as sweep files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path("docs/gpus.md")
COMMAND = re.compile(r"`unlearn-sweep plan (sweeps/\w+\.yaml) --gpus (\d+) --gpu-gib (\d+)`")
AT_ONCE = re.compile(r"\*\*(\d+) trials? at once\*\*")
WISHED_FOR = Path("sweeps/tofu.yaml")
WISH = re.compile(r"^\| (?P<title>[^|]+) \| (?P<lines>[^|]+) \| (?P<at_once>\d+) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A sweep file, the GPUs it is planned for, and how many trials run at once by the page."""

    title: str
    text: str
    gpus: int
    gpu_gib: int
    at_once: int

    @property
    def options(self) -> list[str]:
        return ["--gpus", str(self.gpus), "--gpu-gib", str(self.gpu_gib)]


def recipes() -> list[Recipe]:
    """The sections below "Recipes" that have a command for plan."""
    sections = PAGE.read_text(encoding="utf-8").partition("## Recipes")[2].split("\n### ")[1:]
    return [_recipe(section, found) for section in sections if (found := COMMAND.search(section)) is not None]


def _recipe(section: str, command: re.Match[str]) -> Recipe:
    file, gpus, gib = command.groups()
    said = AT_ONCE.search(section)
    assert said is not None, section
    text = Path(file).read_text(encoding="utf-8")
    for line in re.findall(r"```yaml\n(training: .*)\n```", section):
        text = with_line(text, line)
    title = section.partition("\n")[0]
    return Recipe(title=title, text=text, gpus=int(gpus), gpu_gib=int(gib), at_once=int(said.group(1)))


def wishes() -> list[Recipe]:
    """The lines of the table of wishes that have a number, put into `sweeps/tofu.yaml`."""
    table = PAGE.read_text(encoding="utf-8").partition("| wish |")[2].partition("\n\n")[0]
    assert "trials at once on 8 GPUs" in table
    return [_wish(found) for found in WISH.finditer(table)]


def _wish(found: re.Match[str]) -> Recipe:
    text, lines = WISHED_FOR.read_text(encoding="utf-8"), found["lines"]
    for line in re.findall(r"`([^`]+)`", lines):
        text = with_line(text, line)
    assert "`" in lines or lines == "nothing", lines
    return Recipe(title=found["title"], text=text, gpus=8, gpu_gib=80, at_once=int(found["at_once"]))


def with_line(text: str, line: str) -> str:
    """A sweep file in which a section has become this line; the keys of `training` that the line leaves out stay."""
    section, _, value = line.partition(": ")
    if section == "training" and "epochs" not in value and "max_steps" not in value:
        line = f"training: {{epochs: 10, global_batch_size: 32, {value.removeprefix('{')}"
    replaced, count = re.subn(rf"^{section}: .*$", line, text, flags=re.MULTILINE)
    return replaced if count else f"{text.rstrip()}\n{line}\n"
