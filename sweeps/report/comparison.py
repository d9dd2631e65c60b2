"""Several sweeps in one page: what each reached, by method too, and in which settings they differ."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unlearn_sweep.engine.store.durable import write_text
from unlearn_sweep.sweeps.report.colours import method_styles
from unlearn_sweep.sweeps.report.document import Report, ReportTrial, make_report
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.figure_choices import projections
from unlearn_sweep.sweeps.report.html_table import Cell, table
from unlearn_sweep.sweeps.report.method_table import MethodLine
from unlearn_sweep.sweeps.report.pictures import LABELS, STYLE, plain
from unlearn_sweep.sweeps.report.records import SweepData, read_sweep
from unlearn_sweep.user_error import UserError

SAME = {
    "benchmark": ("benchmark",),
    "metrics of UE": ("ue_metrics",),
    "metrics of UT": ("ut_metrics",),
    "attacks": ("attacks",),
    "training": ("training",),
}
VALUE_SHOWN = 120
DARK_GROUND, DARK_INK = "#14171b", "#e8eaed"
PAGE_STYLE = """
:root { --ground: #ffffff; --ink: #1b1f24; --accent: #0b62b8; --warn-ground: #fff6e0; --warn-line: #e2b93b; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171b; --ink: #e8eaed; --accent: #7ab7f5; --warn-ground: #332b12; --warn-line: #8a7220; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em;
  background: var(--ground); color: var(--ink); }
.plain { overflow-x: auto; } td, th { text-align: left; padding: 4px 14px 4px 0; vertical-align: top; }
td.number, th.number { text-align: right; } img { max-width: 100%; } a { color: var(--accent); }
.banner { background: var(--warn-ground); border-left: 4px solid var(--warn-line); padding: 10px 14px; }
"""
PICTURE = (
    '<picture><source media="(prefers-color-scheme: dark)" srcset="data:image/png;base64,{dark}">'
    '<img alt="Fronts of all sweeps" src="data:image/png;base64,{light}"></picture>'
)
DARK_STYLE: dict[Any, Any] = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), DARK_GROUND),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), DARK_INK),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One sweep of a comparison. `name` is unique among them; `link` leads from the page to the sweep's report."""

    name: str
    data: SweepData
    report: Report
    link: str


def build_comparison(directories: Sequence[Path], page: Path) -> Path:
    """Write a page that compares these sweeps to `page`, replacing an older one, and return its path.

    Raises:
        SweepNotFoundError: One of the folders does not exist or is not a sweep.
        UserError: The same folder is given twice.
    """
    folders = [folder.resolve() for folder in directories]
    if len(set(folders)) < len(folders):
        raise UserError("the same sweep is given twice", advice="Give folders of different sweeps.")
    names = [folder.name for folder in folders]
    sweeps = []
    for folder in folders:
        data = read_sweep(folder)
        link = os.path.relpath(folder / "report" / "index.html", page.resolve().parent)
        name = folder.name if names.count(folder.name) == 1 else f"{folder.parent.name}/{folder.name}"
        sweeps.append(Compared(name=name, data=data, report=make_report(data), link=link))
    write_text(page, render_comparison(sweeps))
    return page


def render_comparison(sweeps: Sequence[Compared]) -> str:
    """Return the page: differences, sweeps, methods of each, and their fronts in one picture. It loads nothing."""
    light, dark = fronts_picture(sweeps), fronts_picture(sweeps, dark=True)
    image = "" if light is None or dark is None else PICTURE.format(light=light, dark=dark)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="color-scheme" content="light dark">
<title>{len(sweeps)} sweeps compared</title><style>{PAGE_STYLE}</style></head>
<body><main><h1>{len(sweeps)} sweeps compared</h1>
{_differences_part(sweeps)}
<h2>Sweeps</h2>{_links(sweeps)}{_sweep_table(sweeps)}
<h2>Methods</h2><p>Objectives on the search half, as in each sweep's own report. Trials are those of the sweep.</p>
{_method_table(sweeps)}
<h2>Fronts</h2><p>Members of each front on the rows that its search used, with one standard error.</p>{image}
</main></body></html>
"""


def differences(sweeps: Sequence[Compared]) -> dict[str, list[str]]:
    """Return the settings in which the sweeps differ, each with its value in every sweep, in their order.

    Sweeps that differ in data, models, metrics or attacks measure different things: their objectives are not
    comparable.
    """
    found: dict[str, list[str]] = {}
    for title, path in SAME.items():
        values = [_flat(title, sweep.data.spec_value(*path)) for sweep in sweeps]
        for name in dict.fromkeys(name for flat in values for name in flat):
            found[name] = [_short(flat[name]) if name in flat else "not set" for flat in values]
    known = [sweep.report.provenance for sweep in sweeps]
    found["content of the data"] = [one.data_digest or "not recorded" for one in known]
    for which in ("original", "gold"):
        found[f"{which} model"] = [one.models.get(which, "not recorded") for one in known]
    return {title: values for title, values in found.items() if len(set(values)) > 1}


def fronts_picture(sweeps: Sequence[Compared], *, dark: bool = False) -> str | None:
    """Return the fronts of all sweeps as a PNG in base64, one colour for each sweep; None without a front member.

    `dark` is for a page with a dark ground.
    """
    fronts = {sweep.name: [trial for trial in sweep.report.trials if trial.on_front] for sweep in sweeps}
    if not any(fronts.values()):
        return None
    pairs = min((projections(sweep.report) for sweep in sweeps), key=len)
    styles = method_styles(list(fronts))
    with mpl.rc_context(STYLE | (DARK_STYLE if dark else {})), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph", category=UserWarning)
        figure = Figure(figsize=(4.5 * len(pairs), 5.0), layout="constrained")
        panels = figure.subplots(1, len(pairs), squeeze=False)[0]
        for axes, (x, y) in zip(panels, pairs, strict=True):
            for name, members in fronts.items():
                _front(axes, members, x, y, styles[name], plain(name))
            axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel=LABELS[x], ylabel=LABELS[y])
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
        file = io.BytesIO()
        FigureCanvasAgg(figure).print_png(file)
    return base64.b64encode(file.getvalue()).decode()


def _front(axes: Axes, members: Sequence[ReportTrial], x: str, y: str, style: dict[str, str], name: str) -> None:
    placed = [(getattr(one, x), getattr(one, y), one.errors.get(x, 0.0), one.errors.get(y, 0.0)) for one in members]
    placed = [one for one in placed if None not in one]
    if placed:
        xs, ys, across, up = zip(*placed, strict=True)
        look = {"color": style["colour"], "marker": style["marker"], "markersize": 8, "elinewidth": 0.9}
        axes.errorbar(xs, ys, xerr=across, yerr=up, linestyle="none", label=name, **look)


def _differences_part(sweeps: Sequence[Compared]) -> str:
    found = differences(sweeps)
    if not found:
        return "<p>Data, models, metrics, attacks and training are the same: the objectives can be compared.</p>"
    text = f"The sweeps differ in {', '.join(found)}: where these differ, objectives do not measure the same."
    lines: list[list[Cell]] = [[title, *values] for title, values in found.items()]
    head = ("setting", *(sweep.name for sweep in sweeps))
    return f'<p class="banner">{escape(text)}</p>' + table(head, lines, label="Differences")


def _links(sweeps: Sequence[Compared]) -> str:
    links = (f'<a href="{escape(sweep.link)}">{escape(sweep.name)}</a>' for sweep in sweeps)
    return f"<p>Reports: {', '.join(links)}</p>"


def _sweep_table(sweeps: Sequence[Compared]) -> str:
    lines: list[list[Cell]] = []
    for sweep in sweeps:
        report = sweep.report
        best = max((line for line in report.methods if line.balance is not None), key=_balance, default=None)
        balance = "\N{EN DASH}" if best is None else f"{best.balance:.3f} (trial {best.balance_trial}, {best.method})"
        settled = str(sum(line.trials for line in report.methods))
        compute = duration(sum(line.seconds for line in report.methods))
        row = [sweep.name, report.benchmark or "", report.state, settled, str(len(report.front))]
        lines.append([*row, f"{report.hypervolume:.3f}", balance, compute])
    head = ("sweep", "benchmark", "state", "settled", "on the front", "hypervolume", "best balance", "compute")
    return table(head, lines, label="Sweeps")


def _balance(line: MethodLine) -> float:
    return line.balance or 0.0


def _method_table(sweeps: Sequence[Compared]) -> str:
    lines: list[list[Cell]] = [
        [
            line.method,
            sweep.name,
            str(line.trials),
            "\N{EN DASH}" if line.balance is None else f"{line.balance:.3f} (trial {line.balance_trial})",
            "\N{EN DASH}" if line.rob is None else f"{line.rob:.3f} (trial {line.rob_trial})",
            f"{line.hypervolume:.3f}",
        ]
        for sweep in sweeps
        for line in sweep.report.methods
    ]
    lines.sort(key=lambda line: str(line[0]))
    head = ("method", "sweep", "trials", "best balance", "best Rob at UT 0.8", "hypervolume")
    return table(head, lines, label="Methods")


def _flat(name: str, value: Any) -> dict[str, Any]:
    """Return nested mappings as one level: "training" {"epochs": 5} becomes {"training epochs": 5}."""
    if not isinstance(value, dict) or not value:
        return {name: value}
    parts = [_flat(f"{name} {key}", inner) for key, inner in value.items()]
    return {title: inner for part in parts for title, inner in part.items()}


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    if len(text) <= VALUE_SHOWN:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]  # tells long texts apart whose beginnings are the same
    return f"{text[:VALUE_SHOWN]}\N{HORIZONTAL ELLIPSIS} ({digest})"
