"""What every picture has to agree on: the half of the rows shown, the projections, the methods to tell apart."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from unlearn_sweep.sweeps.report.document import Report


def shown_half(report: Report) -> Literal["report", "search"]:
    """The half the search never saw, where every front member has its values there; else the half it used."""
    members = [trial for trial in report.trials if trial.on_front]
    names = [f"report_{objective}" for objective in report.objectives]
    whole = all(getattr(trial, name) is not None for trial in members for name in names)
    return "report" if members and whole else "search"


def projections(report: Report) -> list[tuple[str, str]]:
    """Pairs of objectives to draw against each other, horizontal first."""
    return list(combinations(report.objectives, 2))


def report_methods(report: Report) -> list[str]:
    """The methods of all trials, by name."""
    return sorted({trial.method for trial in report.trials if trial.method is not None})
