"""`unlearn-sweep doctor`: what on this machine would keep a sweep from running, or make it run worse.

Starts no Ray, contacts no server and writes nothing. No browser is needed for anything this project makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_sweep.sweeps.doctor.finding import Finding, Status
from unlearn_sweep.sweeps.doctor.libraries import check_libraries
from unlearn_sweep.sweeps.doctor.machine import check_machine
from unlearn_sweep.sweeps.doctor.packages import check_packages, check_python

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS: dict[Status, str] = {"ok": "green", "warn": "yellow", "fail": "red"}


def examine(storage: Path = Path("runs")) -> list[Finding]:
    """Everything that was looked at, failures included; `storage` is the folder of the results."""
    return [check_python(), *check_packages(), *check_libraries(), *check_machine(storage)]


def is_failure(finding: Finding) -> bool:
    """Whether no sweep can run before this is put right."""
    return finding.status == "fail"


def as_json(finding: Finding) -> dict[str, Any]:
    return asdict(finding)


def render(findings: Sequence[Finding]) -> RenderableType:
    """A table, what needs doing in plain sentences below it, and a last line with the counts.

    Findings of a group that are in order share one line.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found"):
        table.add_column(heading, overflow="fold")
    for finding in _folded(findings):
        table.add_row(Text(finding.status, style=_COLOURS[finding.status]), Text(finding.name), Text(finding.detail))
    advice = [Text(f"{item.status}: {item.name}: {item.advice}") for item in findings if item.advice]
    return Group(table, Text(""), *advice, Text(summary(findings), style="bold"))


def summary(findings: Sequence[Finding]) -> str:
    """The last line: can a sweep run?"""
    counts = {status: sum(item.status == status for item in findings) for status in _COLOURS}
    if counts["fail"]:
        return f"{counts['fail']} of {len(findings)} must be put right before a sweep can run."
    rest = f", {counts['warn']} could be better" if counts["warn"] else ""
    return f"Ready: {len(findings)} looked at{rest}."


def _folded(findings: Sequence[Finding]) -> list[Finding]:
    """The same list with the findings of a group that are in order on one line, where the first of them stood."""
    lines: list[Finding] = []
    shown: set[str] = set()
    for finding in findings:
        if finding.group is None or finding.status != "ok":
            lines.append(finding)
        elif finding.group not in shown:
            shown.add(finding.group)
            members = [item for item in findings if item.group == finding.group and item.status == "ok"]
            detail = ", ".join(f"{item.name} {item.detail}" for item in members)
            lines.append(Finding(name=finding.group, status="ok", detail=detail))
    return lines
