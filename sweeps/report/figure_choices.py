"""Choices that all pictures share: the half of the rows, the projections and the methods."""

from __future__ import annotations

from itertools import combinations

from unlearn_sweep.sweeps.report.document import Report
from unlearn_sweep.sweeps.report.uncertainty import Half


def shown_half(report: Report) -> Half:
    """Return the half of the rows whose values to show (`uncertainty.chosen_half`)."""
    return report.compared_on


def projections(report: Report) -> list[tuple[str, str]]:
    """Return the pairs of objectives to plot against each other, as (horizontal, vertical)."""
    return list(combinations(report.objectives, 2))


def report_methods(report: Report) -> list[str]:
    """Return the sorted method names of all trials."""
    return sorted({trial.method for trial in report.trials if trial.method is not None})
