"""Describe the result of a sweep in a few sentences, with numbers from the records and what they mean."""

from __future__ import annotations

from collections import Counter

from unlearn_sweep.engine.search_space import title_of
from unlearn_sweep.sweeps.report.document import Report, ReportTrial
from unlearn_sweep.sweeps.report.picks import Pick
from unlearn_sweep.sweeps.report.sureness import front_sureness
from unlearn_sweep.sweeps.report.transfer_text import transfer_text
from unlearn_sweep.sweeps.report.uncertainty import Half
from unlearn_sweep.sweeps.report.values import trials_text, with_error

HALVES: dict[Half, str] = {"report": "the rows that the search never saw", "search": "the rows that the search used"}


def answer(report: Report) -> list[str]:
    """Return what a reader must know first, one text for each point, the recommendation first."""
    if not report.front:
        return [sentence for sentence in (_nothing_yet(report), _unmoved(report)) if sentence]
    found = (
        *_picks(report),
        _front(report),
        front_sureness(report),
        _several_codes(report),
        _weakest_attack(report),
        _unmoved(report),
        transfer_text(report),
    )
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
    trial = by_number[first.number]
    title = title_of(trial.number, trial.params)
    start = f"Start with trial {title} ({trial.method}): {_roles(first)}, by the rows that the search used."
    sentences = [text for text in (start, _describe(trial, report), _same(report), *_cautions(report)) if text]
    others = [(pick, by_number[pick.number]) for pick in report.picks[1:]]
    rest = [f"trial {title_of(one.number, one.params)} ({one.method}): {_roles(pick)}" for pick, one in others]
    if rest:
        sentences.append(f"Also look at {_listed(rest, separator='; ')}.")
    return sentences


def _describe(trial: ReportTrial, report: Report) -> str:
    half = report.compared_on
    other: Half = "search" if half == "report" else "report"
    texts = [f"{with_error(trial, name, half)} ({with_error(trial, name, other)})" for name in ("ue", "ut", "rob")]
    ue, ut, rob = texts
    robust = f", and a Rob of {rob} under the family of attacks that hurts it most" if trial.rob is not None else ""
    return (
        f"On {HALVES[half]} (in brackets: {HALVES[other]}) it has a UE of {ue}, where a model that never saw the data "
        f"has 1, with a UT of {ut}, where the original model has 1{robust}."
    )


def _same(report: Report) -> str:
    """Return which front members cannot be told apart from the first recommended trial; empty if there are none."""
    first = report.picks[0].number
    same = report.alike.get(first, [])
    if not same:
        return ""
    cannot = f"{trials_text(same)[0].upper()}{trials_text(same)[1:]} cannot be told apart from it"
    return f"{cannot}: no objective differs by more than two standard errors."


def _cautions(report: Report) -> list[str]:
    """Return the cautions of the first recommended trial as sentences."""
    by_number = {trial.number: trial for trial in report.trials if trial.state != "running"}
    return [f"Trial {pick.number}: {text}." for pick in report.picks[:1] for text in by_number[pick.number].cautions]


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


def _listed(words: list[str], separator: str = ", ") -> str:
    """Join as "a, b and c"; with the separator "; " as "a; b; and c"."""
    if len(words) < 2:
        return "".join(words) or "no named method"
    last = " and " if separator == ", " else f"{separator}and "
    return separator.join(words[:-1]) + last + words[-1]
