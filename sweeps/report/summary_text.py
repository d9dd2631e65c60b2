"""Describe the result of a sweep in a few sentences, with numbers from the records and what they mean."""

from __future__ import annotations

from collections import Counter

from unlearn_sweep.sweeps.report.document import Report, ReportTrial
from unlearn_sweep.sweeps.report.picks import Pick


def answer(report: Report) -> list[str]:
    """Return the sentences of the page's opening paragraph."""
    if not report.front:
        return [sentence for sentence in (_nothing_yet(report), _unmoved(report)) if sentence]
    found = (_front(report), _several_codes(report), *_picks(report), _weakest_attack(report), _unmoved(report))
    return [sentence for sentence in found if sentence]


def _nothing_yet(report: Report) -> str:
    infeasible = [trial for trial in report.trials if trial.infeasible is not None]
    if infeasible:
        return _none_feasible(infeasible)
    running, failed = report.counts.get("running", 0), report.counts.get("failed", 0)
    parts = [f"{running} under way"] if running else []
    parts += [f"{failed} failed"] if failed else []
    detail = f" ({', '.join(parts)})" if parts else ""
    return f"No trial has all its objectives yet{detail}, so there is no front to show."


def _none_feasible(trials: list[ReportTrial]) -> str:
    """Return that no trial meets the constraints. Name the trial whose smaller objective of UE and UT is highest."""
    nearest = max(trials, key=lambda trial: (min(trial.ue or 0.0, trial.ut or 0.0), -trial.number))
    return (
        f"No trial meets the sweep's constraints, so there is no front and none is recommended: {len(trials)} are "
        f"complete and infeasible. The most balanced of them is trial {nearest.number} ({nearest.method}): "
        f"{nearest.infeasible}."
    )


def _front(report: Report) -> str:
    members = [trial for trial in report.trials if trial.on_front]
    methods = sorted({trial.method for trial in members if trial.method})
    settled = sum(trial.state not in ("running", "duplicate") for trial in report.trials)
    unfinished = " so far" if report.state == "running" else ""
    infeasible = sum(trial.infeasible is not None for trial in report.trials)
    apart = f" {infeasible} do not meet the sweep's constraints and are no members." if infeasible else ""
    return (
        f"{len(members)} of {settled} settled trials{unfinished} are on the Pareto front: no other trial is at least "
        f"as good in every objective and better in one. They use {_listed(methods)}.{apart}"
    )


def _several_codes(report: Report) -> str:
    """Return a warning if several versions of the code produced the trials; empty if one version produced all."""
    if len(report.code_versions) < 2:
        return ""
    counts = _listed([f"{version} made {count}" for version, count in report.code_versions.items()])
    return (
        f"Its trials were made by {len(report.code_versions)} versions of the code ({counts}): compare trials of one "
        "version only; each trial and trials.csv name it."
    )


def _picks(report: Report) -> list[str]:
    if not report.picks:
        return []
    by_number = {trial.number: trial for trial in report.trials if trial.state != "running"}
    first = report.picks[0]
    sentences = [_describe(by_number[first.number], first)]
    rest = [f"trial {pick.number} ({by_number[pick.number].method}): {_roles(pick)}" for pick in report.picks[1:]]
    if rest:
        sentences.append(f"Also look at {_listed(rest, separator='; ')}.")
    return sentences


def _describe(trial: ReportTrial, pick: Pick) -> str:
    (ue, ut, rob), where = _half(trial)
    robust = f", and a Rob of {_number(rob)} under the family of attacks that hurts it most" if rob is not None else ""
    return (
        f"Start with trial {trial.number} ({trial.method}): {_roles(pick)}. On {where} it has a UE of {_number(ue)} "
        f"(a model that never saw the data has 1) with a UT of {_number(ut)} (the original model has 1){robust}."
    )


def _half(trial: ReportTrial) -> tuple[tuple[float | None, float | None, float | None], str]:
    """Return (UE, UT, Rob) and a description of the rows that they were measured on.

    Held-out rows if every objective that is known on the search rows is known there too, else the search rows.
    """
    held_out = (trial.report_ue, trial.report_ut, trial.report_rob)
    searched = (trial.ue, trial.ut, trial.rob)
    whole = all((unseen is None) == (seen is None) for unseen, seen in zip(held_out, searched, strict=True))
    return (held_out, "the rows that the search never saw") if whole else (searched, "the rows that the search used")


def _unmoved(report: Report) -> str:
    """Return how many trials per method did not change the model: their scores do not show how good the method is."""
    stuck = Counter(str(trial.method) for trial in report.trials if trial.unmoved is not None)
    if not stuck:
        return ""
    which = _listed([f"{count} of {method}" for method, count in sorted(stuck.items())])
    return f"Trials that did not move the model: {which}; their settings are too weak here."


def _weakest_attack(report: Report) -> str:
    """Return which attack is most often the strongest: for each trial, the one with the lowest value."""
    lowest: Counter[str] = Counter()
    for trial in report.trials:
        values = {attack.attack: attack.value for attack in trial.attacks if attack.value is not None}
        if len(values) > 1 and not trial.rob_is_bound:
            lowest[min(values, key=lambda name: values[name])] += 1
    if not lowest:
        return ""
    name, count = lowest.most_common(1)[0]
    return f"The most damaging attack is most often {name}: in {count} of {lowest.total()} fully attacked trials."


def _roles(pick: Pick) -> str:
    return _listed(pick.roles)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _listed(words: list[str], separator: str = ", ") -> str:
    """Join as "a, b and c"; with the separator "; " as "a; b; and c"."""
    if len(words) < 2:
        return "".join(words) or "no named method"
    last = " and " if separator == ", " else f"{separator}and "
    return separator.join(words[:-1]) + last + words[-1]
