"""Render index.html: the whole report in one file that works offline.

Texts from records are untrusted. Texts in the HTML pass through `html.escape`. Texts that the page's script shows are
embedded as JSON with escaped angle brackets and inserted as text. In addition, the content security policy allows
only the page's two scripts, by hash, and forbids all requests: injected text can neither run nor send data.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from unlearn_sweep.sweeps.report.answer_sheet import AnswerSheet
from unlearn_sweep.sweeps.report.attacker_parts import attacker_section
from unlearn_sweep.sweeps.report.colours import method_styles
from unlearn_sweep.sweeps.report.document import Report, ReportTrial
from unlearn_sweep.sweeps.report.figure_choices import projections, report_methods, shown_half
from unlearn_sweep.sweeps.report.geometry import staircase
from unlearn_sweep.sweeps.report.html_parts import (
    facts,
    lost_tables,
    pick_cards,
    request_table,
    run_again,
    saved_table,
    seed_table,
    stage_table,
    stopping_part,
    time_line,
    warnings,
)
from unlearn_sweep.sweeps.report.method_parts import method_section
from unlearn_sweep.sweeps.report.provenance_parts import provenance_section
from unlearn_sweep.sweeps.report.summary_text import answer

SCRIPTS = ("page.js", "table.js", "figures.js", "attacks.js", "settings.js", "parallel.js", "history.js", "answers.js")
CURVES_ON_PAGE = 400
_CURVES_AND_PARTS: Any = {
    "attacks": {"__all__": {"curve", "report_left"}},
    "training": True,
    "ue_detail": {"parts", "groups"},
    "ut_detail": {"parts", "groups"},
    "report_ue_detail": {"parts", "groups"},
    "report_ut_detail": {"parts", "groups"},
    "rob_detail": {"families"},
    "report_rob_detail": {"families"},
}
_SCRIPT_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def render_page(report: Report, answers: AnswerSheet | None = None, *, live: bool = False) -> str:
    """Return the page as HTML text, including plotly.js (about 5 MB). Without `answers`, leave that section out.

    A `live` page asks its server for the state every two seconds, and loads itself again when a trial has settled.
    """
    from plotly.offline import get_plotlyjs  # slow to import, and needed only here

    # Inside a script element, the HTML parser only looks for its end tag.
    plotly = get_plotlyjs().replace("</script", "<\\/script")
    names, calls = ([*SCRIPTS, "live.js"], "start();\nstartLive();\n") if live else (SCRIPTS, "start();\n")
    script = "\n".join(_asset(name) for name in names) + f"\n{calls}"
    parts = {
        "policy": _policy(plotly, script, live=live),
        "not_live": "" if live else " hidden",
        "title": escape(f"{report.sweep}: Pareto report"),
        "style": _asset("page.css"),
        "name": escape(report.sweep),
        "facts": facts(report),
        "warnings": warnings(report),
        "answer": _answer(report),
        "picks": pick_cards(report),
        "seeds": seed_table(report) + request_table(report),
        "methods": method_section(report),
        "attackers": attacker_section(report.attackers),
        "volume": _volume(report),
        "time": time_line(report),
        "stages": stage_table(report),
        "saved": saved_table(report) + stopping_part(report),
        "lost": lost_tables(report),
        "provenance": provenance_section(report),
        "again": run_again(report),
        **_answer_parts(answers),
        "data": script_json(page_data(report) | {"answers": answers.model_dump() if answers is not None else None}),
        "plotly": plotly,
        "script": script,
    }
    # Substitute in one pass, so that inserted text that looks like a placeholder is left alone.
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], _asset("page.html"))


def _answer(report: Report) -> str:
    """Render the first point as a paragraph and the others as a list."""
    first, *rest = answer(report)
    points = "".join(f"<li>{escape(text)}</li>" for text in rest)
    listed = f'<ul class="points">{points}</ul>' if points else ""
    return f'<p class="lead">{escape(first)}</p>{listed}'


def page_data(report: Report) -> dict[str, Any]:
    """Return the input of the page's script. Keep curves and metric parts for the most relevant trials only."""
    kept = {trial.number for trial in most_relevant(report.trials)[:CURVES_ON_PAGE]}
    left_out = sum(bool(trial.attacks) for trial in report.trials if trial.number not in kept)
    apart = {"trials", "spec_text", "versions", "picks", "problems", "provenance"}
    fields = report.model_dump(mode="json", exclude=apart)
    fields["trials"] = [_trial_data(trial, whole=trial.number in kept) for trial in report.trials]
    return {
        "report": fields,
        "styles": method_styles(report_methods(report)),
        "half": shown_half(report),
        "staircases": {half: _staircases(report, half) for half in ("report", "search")},
        "curves_left_out": left_out,
    }


def most_relevant(trials: Sequence[ReportTrial]) -> list[ReportTrial]:
    """Sort trials: front members first, then by their lowest objective (highest first), then by number."""

    def rank(trial: ReportTrial) -> tuple[bool, float, int]:
        values = [value for value in (trial.ue, trial.ut, trial.rob) if value is not None]
        return not trial.on_front, -min(values, default=-1.0), trial.number

    return sorted(trials, key=rank)


def script_json(value: Any) -> str:
    """Serialize to JSON that is safe in a script element: it can neither close the element nor open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_SCRIPT_ESCAPES)


def _trial_data(trial: ReportTrial, *, whole: bool) -> dict[str, Any]:
    if whole:
        return trial.model_dump(mode="json")
    data = trial.model_dump(mode="json", exclude=_CURVES_AND_PARTS)
    for attack in data["attacks"]:
        attack["curve"] = []
    return data


def _staircases(report: Report, half: str) -> dict[str, list[tuple[float, float]]]:
    prefix = "report_" if half == "report" else ""
    members = [trial for trial in report.trials if trial.on_front]
    steps: dict[str, list[tuple[float, float]]] = {}
    for x, y in projections(report):
        points = [(getattr(trial, prefix + x), getattr(trial, prefix + y)) for trial in members]
        steps[f"{x}-{y}"] = staircase(point for point in points if None not in point)
    return steps


def _policy(*scripts: str, live: bool) -> str:
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    server = "; connect-src 'self'" if live else ""
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"base-uri 'none'; form-action 'none'{server}"
    )


def _answer_parts(answers: AnswerSheet | None) -> dict[str, str]:
    hidden = " hidden"
    texts = answers.problems if answers is not None else []
    return {
        "no_answers": hidden if answers is None else "",
        "no_answer_rows": hidden if answers is None or not answers.rows else "",
        "answer_problems": "".join(f'<p class="note">Left out: {escape(text)}</p>' for text in texts),
    }


def _volume(report: Report) -> str:
    point = ", ".join(f"{value:g}" for value in report.reference_point)
    text = f"Hypervolume {report.hypervolume:.4f}, from the reference point ({point}), on the search half."
    if report.front_source == "progress.json":
        return text
    return f"{text} The sweep has not written its front yet, so this front is computed from the trial records."


def _asset(name: str) -> str:
    return files("unlearn_sweep.sweeps.report").joinpath(name).read_text(encoding="utf-8")
