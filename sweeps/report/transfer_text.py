"""Say how far the values of another sweep, which this one learns from or starts with, order settings as here."""

from __future__ import annotations

from unlearn_sweep.engine.study.transfer import Transfer
from unlearn_sweep.sweeps.report.document import Report


def transfer_text(report: Report) -> str:
    """Return one sentence for each other sweep; empty if there is none."""
    names = dict.fromkeys(line.sweep for line in report.transfer)
    return " ".join(_of_sweep([line for line in report.transfer if line.sweep == name]) for name in names)


def _of_sweep(lines: list[Transfer]) -> str:
    parts = ", ".join(f"{_name(line)} {_value(line)}" for line in lines)
    return (
        f"Rank correlation (Spearman, 95% interval) between the values of {lines[0].sweep} and those here, over "
        f"settings that both have tried, on the search half: {parts}."
    )


def _name(line: Transfer) -> str:
    return "Rob" if line.objective == "rob" else line.objective.upper()


def _value(line: Transfer) -> str:
    if line.correlation is None:
        return f"not known ({line.settings} settings: {line.reason})"
    known = line.low is not None and line.high is not None
    span = f"{line.low:.2f} to {line.high:.2f}" if known else "no interval"
    return f"{line.correlation:.2f} ({span}, {line.settings} settings)"
