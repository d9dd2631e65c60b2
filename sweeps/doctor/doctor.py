"""`unlearn-sweep doctor`: find what would prevent a sweep from running on this machine, or make it run worse.

Does not start Ray, contact a server or write files. Nothing in this project needs a browser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def examine(storage: Path = Path("runs"), tell: Callable[[str], object] = lambda _: None) -> list[Finding]:
    """Run all checks and return every finding, including failures.

    `storage` is the folder of the results. `tell` is called with what is checked next, in words.
    """
    tell("Python and packages")
    findings = [check_python(), *check_packages()]
    tell("torch, DeepSpeed and Ray, each imported in a process of its own: up to half a minute")
    findings += check_libraries()
    tell("cores, memory, disk and ports of this machine")
    return findings + check_machine(storage)


def is_failure(finding: Finding) -> bool:
    """Return whether this finding must be fixed before a sweep can run."""
    return finding.status == "fail"


def as_json(finding: Finding) -> dict[str, Any]:
    return asdict(finding)


def render(findings: Sequence[Finding]) -> RenderableType:
    """Render a table of findings, the advice below it, and a last line with counts.

    Findings of one group with status "ok" share a line.
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
    """Return the last line: whether a sweep can run, with counts."""
    counts = {status: sum(item.status == status for item in findings) for status in _COLOURS}
    if counts["fail"]:
        return f"{counts['fail']} of {len(findings)} must be fixed before a sweep can run."
    rest = f", {counts['warn']} with warnings" if counts["warn"] else ""
    return f"Ready: {len(findings)} checked{rest}."


def _folded(findings: Sequence[Finding]) -> list[Finding]:
    """Merge the findings of each group with status "ok" into one, at the position of the first."""
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
