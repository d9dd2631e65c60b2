"""The section of the page that compares methods with each other and with published numbers."""

from __future__ import annotations

from html import escape

from unlearn_sweep.engine.study.importance import Importance
from unlearn_sweep.evaluators.papers import GRADES
from unlearn_sweep.sweeps.report.document import Report
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.html_table import Cell, TrialLink, table
from unlearn_sweep.sweeps.report.method_table import UTILITY_FLOOR, EqualBudget, MethodLine

DASH = "\N{EN DASH}"


def method_section(report: Report) -> str:
    """Render the table of methods, the budget in words, and the published numbers of the benchmark if there are any."""
    if not report.methods:
        return "<p>No trial is settled yet.</p>"
    robust = "rob" in report.objectives
    head = ["method", "best balance"]
    head += [f"best Rob at UT {UTILITY_FLOOR:g}"] if robust else []
    lines = [_line(line, robust=robust) for line in report.methods]
    columns = [*head, "best at equal budget", "hypervolume", "settled", "complete", "on the front", "compute"]
    return (
        f"<p>{escape(budget_text(report))}</p>"
        + table(columns, lines, label="Methods", numeric_from=1)
        + _importance(report)
        + _published(report)
    )


def budget_text(report: Report) -> str:
    """Return whether all methods had as many trials, and what the columns mean."""
    counts = sorted({line.trials for line in report.methods})
    equal = (
        f"Each method had {counts[0]} trials"
        if len(counts) == 1
        else (f"The methods had {counts[0]} to {counts[-1]} trials, so a method with more had more chances")
    )
    known = any(line.equal.probability is not None for line in report.methods)
    sure = (
        "in brackets the probability that its balance is above that of every other method's, on both halves."
        if known
        else f"how sure that is, is not known: {report.noise.reason or 'no draws of the scores are recorded'}."
    )
    return (
        f"{equal}. Best balance is the highest harmonic mean of the objectives of one trial; hypervolume is that of "
        "the method's own trials. All on the search half, by which trials were chosen: the best of many is in part "
        f"lucky. At equal budget: the best of the first {report.methods[0].equal.trials} trials of each method; {sure}"
    )


def _line(line: MethodLine, *, robust: bool) -> list[Cell]:
    cells: list[Cell] = [line.method, _value(line.balance, line.balance_trial)]
    cells += [_value(line.rob, line.rob_trial)] if robust else []
    cells += [_equal(line.equal), f"{line.hypervolume:.3f}"]
    return [*cells, str(line.trials), str(line.complete), str(line.on_front), duration(line.seconds)]


def _equal(found: EqualBudget) -> Cell:
    """Balance of the best trial at equal budget, with the probability that no other method's is better."""
    if found.balance is None or found.trial is None:
        return DASH
    sure = "" if found.probability is None else f" ({100 * found.probability:.3g}%)"
    return TrialLink(f"{found.balance:.3f}{sure}", found.trial)


def _value(value: float | None, trial: int | None) -> Cell:
    return DASH if value is None or trial is None else TrialLink(f"{value:.3f}", trial)


def _importance(report: Report) -> str:
    """Render which settings mattered, or why that cannot be said; empty without a search."""
    if not report.importance:
        return ""
    text = (
        "Which settings the best quarter of a method's trials agree on, compared with its whole search space "
        "(PED-ANOVA): shares of one line add up to 1. A setting that matters little here may matter outside its range."
    )
    title = "<h3>Settings that mattered</h3>"
    if all(line.reason for line in report.importance):
        why = dict.fromkeys(f"{line.method} ({line.reason})" for line in report.importance)
        return f"{title}<p>Not known: {escape(', '.join(why))}.</p>"
    lines = [
        [line.method, line.objective.upper() if line.objective != "rob" else "Rob", str(line.trials), _shares(line)]
        for line in report.importance
    ]
    head = ("method", "objective", "trials", "settings")
    return f"{title}<p>{escape(text)}</p>" + table(head, lines, label="Settings that mattered")


def _shares(line: Importance) -> str:
    return line.reason or ", ".join(f"{name} {share:.2f}" for name, share in line.shares.items())


def _published(report: Report) -> str:
    if not report.published:
        return ""
    lines: list[list[Cell]] = []
    for line in report.published:
        number = line.published
        here: Cell = DASH if line.here is None or line.trial is None else TrialLink(f"{line.here:.4g}", line.trial)
        printed = f"{number.value:.4g} {number.unit}"
        lines.append(
            [line.method, number.metric, here, printed, number.direction, number.model, number.paper, number.grade]
        )
    head = ("method", "metric", "here", "published", "better", "model there", "source", "grade")
    grades = "; ".join(f"{grade}: {meaning}" for grade, meaning in GRADES.items())
    text = (
        "Published numbers of the same benchmark and method, as printed. Here: the method's best-balanced trial, on "
        "the search half, where the sweep measures the same metric. Another model or training is another number. "
        f"{grades}."
    )
    return f"<h3>Published numbers</h3><p>{escape(text)}</p>" + table(head, lines, label="Published numbers")
