"""Parts of the page that need no script: header, cards, tables of times and of failures, commands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from unlearn_sweep.engine.search_settings import OBJECTIVE_NAMES
from unlearn_sweep.engine.search_space import title_of
from unlearn_sweep.engine.store.records import missing_reasons
from unlearn_sweep.methods.catalog import defaults
from unlearn_sweep.methods.shared_params import TRAINING_PARAMS
from unlearn_sweep.sweeps.few_facts import few_facts
from unlearn_sweep.sweeps.report.accounting import time_text
from unlearn_sweep.sweeps.report.commands import export_command, mlflow_command, run_command
from unlearn_sweep.sweeps.report.document import Report, ReportTrial
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.html_table import table
from unlearn_sweep.sweeps.report.judging import judging_text
from unlearn_sweep.sweeps.report.picks import Pick
from unlearn_sweep.sweeps.report.savings import savings_text
from unlearn_sweep.sweeps.report.seeds import spread_text
from unlearn_sweep.sweeps.report.stopping import stopping_text
from unlearn_sweep.sweeps.report.sureness import sureness
from unlearn_sweep.sweeps.report.values import trials_text, with_error

LINES_SHOWN = 200
LOST = {
    "Failed": "They ended with an error and are not on the front.",
    "Collapsed": "The model broke; it was not attacked further. Scores up to there are kept.",
    "Stopped": "Their trainings were stopped: the front would beat their ends. Nothing was measured.",
    "Without an objective": "Complete, but an objective has no value.",
    "Infeasible": "They do not meet the sweep's constraints: on no front, and never recommended.",
    "Unmoved": "The forget metrics did not move: these settings are too weak here, so their scores say nothing else.",
    "Attacks skipped": "They could no longer reach the front; their Rob is an upper bound.",
    "Duplicates": "The same setting and seed as an earlier trial: settled from it, not run.",
}
_STATE_TITLES = {"failed": "Failed", "collapsed": "Collapsed", "stopped": "Stopped", "duplicate": "Duplicates"}
STATES = ("complete", "running", "collapsed", "stopped", "failed", "duplicate")

OBJECTIVE_LABELS = {
    "ue": "UE",
    "ut": "UT",
    "rob": "Rob",
    "report_ue": "UE of the report half",
    "report_ut": "UT of the report half",
    "report_rob": "Rob of the report half",
}


def facts(report: Report) -> str:
    """Render a line of labels: the benchmark, the sweep's progress and its wall time."""
    wanted = f" of {report.trials_wanted}" if report.trials_wanted is not None else ""
    settled = sum(trial.state not in ("running", "duplicate") for trial in report.trials)
    chips = [
        f"benchmark {report.benchmark or 'unknown'}",
        f"sweep {report.state}",
        f"{settled}{wanted} trials settled",
        *(f"{report.counts[state]} {state}" for state in STATES if report.counts.get(state)),
        f"{len(report.front)} on the front",
        f"{duration(report.elapsed_seconds)} of wall time",
        f"read {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(report.generated))}",
    ]
    return " ".join(f'<span class="chip">{escape(chip)}</span>' for chip in chips)


def warnings(report: Report) -> str:
    """Render banners if the benchmark is not publishable, the sweep is unfinished or a file is unreadable."""
    texts: list[str] = []
    if not report.publishable:
        texts.append(
            f"The benchmark {report.benchmark!r} is synthetic, made for this project, and used with a very small "
            "model. It shows how a sweep behaves; it is no benchmark to publish numbers on."
        )
    if (few := few_facts(report.controls.forget_facts if report.controls else None)) is not None:
        texts.append(few)
    if report.state in ("running", "not started"):
        texts.append("The sweep is still running: this page shows what was settled when it was made.")
    if report.state == "stopped":
        texts.append(
            "The sweep was stopped before its end. Rerun the same command to resume from the last finished stage."
        )
    if report.prompt is not None and report.prompt.warning is not None:
        texts.append(f"Asked in the wrong format? {capitalised(report.prompt.warning)}.")
    texts += [f"Not readable and left out: {problem}" for problem in report.problems]
    asked = "" if report.prompt is None else f'<p class="note">{escape(report.prompt.sentence())}</p>'
    return "".join(f'<p class="banner">{escape(text)}</p>' for text in texts) + asked


def capitalised(text: str) -> str:
    """Return the text with its first letter in upper case and the rest as it is."""
    return text[:1].upper() + text[1:]


def pick_cards(report: Report) -> str:
    """Render one card per recommended trial, with its objectives and standard errors on both halves of the rows."""
    by_number = {trial.number: trial for trial in report.trials if trial.state != "running"}
    return "".join(_card(by_number[pick.number], pick, report) for pick in report.picks)


def seed_table(report: Report) -> str:
    """Render the results of finalists over seeds, on the rows that the search never saw; empty if there are none."""
    lines = []
    for trial in report.trials:
        found = trial.over_seeds
        if found is not None:
            values = [spread_text(found.spreads.get(f"report_{name}")) for name in report.objectives]
            own = [_two(getattr(trial, f"report_{name}")) for name in report.objectives]
            count = f"{found.complete} of {found.runs}"
            lines.append((f"{trial.number} {trial.method}", count, *values, *own, "; ".join(found.lost)))
    if not lines:
        return ""
    titles = [OBJECTIVE_NAMES[name] for name in report.objectives]
    head = ("trial", "seeds", *titles, *(f"{title}, the trial's own" for title in titles), "lost")
    text = (
        "Members of the front, trained again with other seeds and attacked in full: mean \N{PLUS-MINUS SIGN} standard "
        "deviation over seeds, on rows that the search never saw. The search chose by the trial's own seed."
    )
    return f"<h3>Finalists over seeds</h3><p>{text}</p>" + table(head, lines, label="Finalists", numeric_from=1)


def request_table(report: Report) -> str:
    """Render UE, UT and Rob of the front members after each request; empty for a sweep without requests."""
    front = {trial.number for line in report.requests if line.last for trial in line.trials if trial.on_front}
    lines = [
        (
            f"{trial.number} {trial.method}",
            str(line.after),
            *(_two(value) for value in (trial.report_ue, trial.report_ut, trial.rob, trial.ue, trial.ut)),
            "yes" if trial.on_front else "no",
        )
        for line in report.requests
        for trial in line.trials
        if trial.number in front or trial.on_front
    ]
    if not lines:
        return ""
    head = ("trial", "after request", "UE", "UT", "Rob", "UE, search half", "UT, search half", "on the front there")
    text = (
        "UE is that of the rows of the requests so far. On the way the front is that of UE and UT on the search half; "
        "attacks run after the last request."
    )
    return f"<h3>Request by request</h3><p>{text}</p>" + table(head, lines, label="Requests", numeric_from=1)


def _two(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.2f}"


def stage_table(report: Report) -> str:
    """Render a table of the runs, cache hits, failures and seconds of every stage."""
    total = sum(entry.seconds + entry.failed_seconds for entry in report.stages)
    lines = [
        (
            f"{entry.stage}{' (preparation)' if entry.preparation else ''}",
            str(entry.runs),
            str(entry.reused),
            str(entry.failed),
            duration(entry.seconds + entry.failed_seconds),
            duration(entry.seconds / entry.runs) if entry.runs else "\N{EN DASH}",
            f"{100 * (entry.seconds + entry.failed_seconds) / total:.0f}%" if total else "\N{EN DASH}",
        )
        for entry in report.stages
    ]
    head = ("stage", "finished", "reused", "failed", "compute", "mean of one", "share")
    return table(head, lines, label="Stages", numeric_from=1)


def time_line(report: Report) -> str:
    """Render the time break-down and the cost of judging, as one sentence each."""
    judging = judging_text(report.judging)
    judged = "" if judging is None else f"<p>Asked of judges: {escape(judging)}.</p>"
    return f"<p>Where the time went: {escape(time_text(report.time))}.</p>{judged}"


def stopping_part(report: Report) -> str:
    """Render what stopping trainings saved and cost; empty for a sweep that stops none."""
    found, text = report.stopping, stopping_text(report.stopping)
    if found is None or text is None:
        return ""
    lists = [
        f"<p>{label}: {escape(trials_text(numbers))}.</p>"
        for label, numbers in (("Stopped", found.stopped), ("Ran on to measure it", found.ran_anyway))
        if numbers
    ]
    return f"<h3>Trainings stopped on their way</h3><p>{escape(text[0].upper() + text[1:])}.</p>{''.join(lists)}"


def saved_table(report: Report) -> str:
    """Render a table of the time that pruning saved per attack; empty if no attack was skipped."""
    text = savings_text(report.pruning)
    if text is None:
        return ""
    lines = [
        (entry.attack, str(entry.skipped), duration(entry.seconds_each), duration(entry.seconds))
        for entry in report.pruning.attacks
    ]
    head = f"<h3>Saved by pruning</h3><p>{escape(text)}. The front is the same as without.</p>"
    titles = ("attack", "skipped", "mean of one", "saved")
    return head + table(titles, lines, label="Saved by pruning", numeric_from=1)


def lost_tables(report: Report) -> str:
    """Render the trials without a full result, grouped as in `LOST`, each with its reason."""
    chosen: dict[str, list[ReportTrial]] = {title: [] for title in LOST}
    for trial in report.trials:
        for title in _kinds(trial, report.objectives):
            chosen[title].append(trial)
    shown = "".join(_lost_group(title, LOST[title], trials) for title, trials in chosen.items() if trials)
    if not any(trial.state != "running" for trial in report.trials):
        return "<p>No trial is settled yet.</p>"
    return shown or "<p>Nothing: every settled trial ran to its end and has all its objectives.</p>"


def run_again(report: Report) -> str:
    """Render the commands and the resolved sweep file."""
    commands = [run_command("FILE.yaml")]
    if report.picks:
        commands.append(export_command(report.directory, report.picks[0].number))
    text = "".join(f'<pre tabindex="0">{escape(command)}</pre>' for command in commands) + _mlflow(report)
    if report.spec_text is None:
        return text + "<p>spec.lock.yaml is missing from the sweep's folder.</p>"
    summary = "spec.lock.yaml: the sweep with every default filled in"
    spec = f'<pre tabindex="0">{escape(report.spec_text)}</pre>'
    return f"{text}<details><summary>{summary}</summary>{spec}</details>"


def _mlflow(report: Report) -> str:
    """Render the command that opens MLflow, and the address of the sweep's page there; empty without MLflow."""
    command = mlflow_command(report.directory, report.tracking)
    if command is None or report.tracking_page is None:
        return ""
    shown = escape(report.tracking_page)
    web = report.tracking_page.startswith(("http://", "https://"))
    page = f'<a href="{shown}" rel="noreferrer">{shown}</a>' if web else shown
    return f'<p>The same trials in MLflow, at {page} after:</p><pre tabindex="0">{escape(command)}</pre>'


def settings_text(trial: ReportTrial) -> str:
    """Return one line of a trial's parameters: all training parameters, and others that differ from their defaults."""
    try:
        usual = defaults(str(trial.method))
    except (KeyError, ValueError):  # the method does not exist in this version
        usual = {}
    shown_params = {
        name: value for name, value in trial.params.items() if name in TRAINING_PARAMS or value != usual.get(name)
    }
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in shown_params.items()
    )


def _card(trial: ReportTrial, pick: Pick, report: Report) -> str:
    gauges = "".join(_gauge(name, trial) for name in report.objectives)
    head = "<span></span><span></span><span>search half</span><span>unseen half</span>"
    same = report.alike.get(trial.number, [])
    notes = [f"cannot be told apart from {trials_text(same)}", *trial.cautions] if same else trial.cautions
    notes = [*sureness(trial, pick), *notes]
    said = "".join(f'<span class="caution">{escape(note)}</span>' for note in notes)
    return (
        f'<button type="button" class="card" data-trial="{trial.number}">'
        f'<span class="role">{escape("; ".join(pick.roles))}</span>'
        f'<span class="who">Trial {title_of(trial.number, trial.params)}: {escape(str(trial.method))}</span>'
        f'<span class="gauges">{head}{gauges}</span>{said}'
        f'<span class="settings">{escape(settings_text(trial)[:300])}</span></button>'
    )


def _gauge(name: str, trial: ReportTrial) -> str:
    searched, unseen = (with_error(trial, name, half) for half in ("search", "report"))
    value = getattr(trial, f"report_{name}")
    share = 100 * max(0.0, min(1.0, getattr(trial, name) if value is None else value))
    return (
        f'<span>{OBJECTIVE_LABELS[name]}</span><span class="gauge"><i style="width:{share:.0f}%"></i></span>'
        f"<span>{searched}</span><span>{unseen}</span>"
    )


def _kinds(trial: ReportTrial, objectives: Sequence[str]) -> list[str]:
    """Return the titles of the groups in `LOST` that a trial belongs to."""
    kinds = [_STATE_TITLES[trial.state]] if trial.state in _STATE_TITLES else []
    missing = any(getattr(trial, name) is None for name in objectives)
    if trial.state == "complete" and missing and not trial.rob_is_bound:
        kinds.append("Without an objective")
    if trial.infeasible is not None:
        kinds.append("Infeasible")
    if trial.unmoved is not None:
        kinds.append("Unmoved")
    return [*kinds, "Attacks skipped"] if trial.rob_is_bound else kinds


def _lost_group(title: str, text: str, trials: Sequence[ReportTrial]) -> str:
    lines = [
        (
            title_of(trial.number, trial.params),
            str(trial.method),
            trial.failed_stage or "",
            _why(trial),
            settings_text(trial)[:200],
        )
        for trial in trials[:LINES_SHOWN]
    ]
    rest = f"<p>and {len(trials) - LINES_SHOWN} more, in trials.csv.</p>" if len(trials) > LINES_SHOWN else ""
    head = f"<h3>{escape(title)}: {len(trials)}</h3><p>{escape(text)}</p>"
    return head + table(("#", "method", "stage", "reason", "settings"), lines, label=title) + rest


def _why(trial: ReportTrial) -> str:
    if trial.infeasible is not None:
        return trial.infeasible
    if trial.duplicate_of is not None:
        return f"same as trial {trial.duplicate_of}"
    missing = missing_reasons(trial)
    unscored: dict[str, list[str]] = {}
    for attack in trial.attacks:
        if attack.value is None and attack.reason:
            unscored.setdefault(attack.reason, []).append(attack.attack)
    reasons = [trial.reason, trial.unmoved, trial.rob_reason]
    reasons += [f"{label}: {missing[name]}" for name, label in OBJECTIVE_LABELS.items() if name in missing]
    reasons += [f"{', '.join(attacks)}: {reason}" for reason, attacks in unscored.items()]
    return "; ".join(reason for reason in dict.fromkeys(reasons) if reason) or "no reason recorded"
