"""Choices that all pictures share: the half of the rows, the projections and the methods."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from unlearn_sweep.sweeps.report.document import Report


def shown_half(report: Report) -> Literal["report", "search"]:
    """Return the half of the rows whose values to show.

    "report" (rows that the search never saw) if every front member has all objectives there, else "search".
    """
    members = [trial for trial in report.trials if trial.on_front]
    names = [f"report_{objective}" for objective in report.objectives]
    whole = all(getattr(trial, name) is not None for trial in members for name in names)
    return "report" if members and whole else "search"


def projections(report: Report) -> list[tuple[str, str]]:
    """Return the pairs of objectives to plot against each other, as (horizontal, vertical)."""
    return list(combinations(report.objectives, 2))


def report_methods(report: Report) -> list[str]:
    """Return the sorted method names of all trials."""
    return sorted({trial.method for trial in report.trials if trial.method is not None})
