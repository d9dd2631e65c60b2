"""Draw the report's PNG pictures, for a README or a paper collector: front, attacks, hypervolume, time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unlearn_sweep.sweeps.report.colours import method_styles
from unlearn_sweep.sweeps.report.document import Report, ReportTrial
from unlearn_sweep.sweeps.report.figure_choices import projections, report_methods, shown_half
from unlearn_sweep.sweeps.report.geometry import staircase

LABELS = {"ue": "UE, forgetting", "ut": "UT, utility kept", "rob": "Rob, forgetting left under attack"}
CURVES_SHOWN = 60
Place = tuple[float, float]
# Names come from files and may contain dollar signs: do not parse them as formulas.
STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 10.0,
    "figure.dpi": 100,
}


def draw_pictures(report: Report, folder: Path) -> list[Path]:
    """Write the PNG files into `folder` and return their paths. Skip pictures without data."""
    pictures: dict[str, Callable[[Report], Figure | None]] = {
        "front.png": front_picture,
        "attacks.png": attacks_picture,
        "hypervolume.png": hypervolume_picture,
        "time.png": time_picture,
    }
    written: list[Path] = []
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*[Gg]lyph", category=UserWarning
        )  # a name has characters that the font lacks
        for name, draw in pictures.items():
            figure = draw(report)
            if figure is not None:
                FigureCanvasAgg(figure).print_png(folder / name)
                written.append(folder / name)
    return written


def front_picture(report: Report) -> Figure | None:
    """Draw the front for each pair of objectives, on the rows that `shown_half` selects; None without scored trials."""
    scored = [trial for trial in report.trials if trial.state in ("complete", "collapsed")]
    if not any(trial.ue is not None and trial.ut is not None for trial in scored):
        return None
    half, shown = shown_half(report), projections(report)
    figure = Figure(figsize=(4.5 * len(shown), 5.0), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    styles = method_styles(report_methods(report))
    for axes, (x, y) in zip(panels, shown, strict=True):
        _projection(axes, scored, styles, half, x, y)
        _control_marks(axes, report, x, y)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(7, max(1, len(labels))), frameon=False)
    where = "rows that the search never saw" if half == "report" else "rows that the search used"
    figure.suptitle(f"{plain(report.sweep)}: {len(report.front)} trials on the Pareto front, measured on the {where}")
    return figure


def attacks_picture(report: Report) -> Figure | None:
    """Draw what is still forgotten over attack strength, one panel for each of the first six attacks.

    Front members are drawn with thicker, opaque lines. None if no attack has a curve.
    """
    names = list(dict.fromkeys(a.attack for trial in report.trials for a in trial.attacks if len(a.curve) > 0))[:6]
    if not names:
        return None
    figure = Figure(figsize=(4.5 * len(names), 4.2), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    styles = method_styles(report_methods(report))
    for axes, name in zip(panels, names, strict=True):
        _attack_panel(axes, report, styles, name)
    figure.suptitle("What is still forgotten under each attack (1: as the gold model under it, 0: as the original)")
    return figure


def hypervolume_picture(report: Report) -> Figure | None:
    """Draw the hypervolume of the front after each settled trial; None with fewer than two points."""
    if len(report.hypervolume_curve) < 2:
        return None
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.subplots()
    counts, volumes = zip(*report.hypervolume_curve, strict=True)
    axes.step(counts, volumes, where="post", color="#0072b2", linewidth=2)
    axes.set(xlabel="settled trials", ylabel="hypervolume", ylim=(0, None), title="Hypervolume of the front")
    return figure


def time_picture(report: Report) -> Figure | None:
    """Draw the seconds spent in each stage over the whole sweep, for the 15 longest; None without any."""
    stages = [entry for entry in report.stages if entry.seconds + entry.failed_seconds > 0][:15][::-1]
    if not stages:
        return None
    figure = Figure(figsize=(7.0, 1.2 + 0.35 * len(stages)), layout="constrained")
    axes = figure.subplots()
    axes.barh([plain(entry.stage) for entry in stages], [entry.seconds for entry in stages], color="#0072b2")
    lost = [entry.failed_seconds for entry in stages]
    axes.barh([plain(e.stage) for e in stages], lost, left=[e.seconds for e in stages], color="#d55e00", label="failed")
    if any(lost):
        axes.legend(frameon=False)
    axes.set(xlabel="seconds of compute", title="Where the time went")
    return figure


def plain(text: str) -> str:
    """Replace unprintable characters, which fonts cannot draw."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _projection(
    axes: Axes, trials: list[ReportTrial], styles: dict[str, dict[str, str]], half: str, x: str, y: str
) -> None:
    prefix = "report_" if half == "report" else ""

    def places(chosen: Iterable[ReportTrial]) -> list[Place]:
        pairs = ((getattr(trial, prefix + x), getattr(trial, prefix + y)) for trial in chosen)
        return [pair for pair in pairs if None not in pair]

    if steps := staircase(places(trial for trial in trials if trial.on_front)):
        axes.plot(*zip(*steps, strict=True), color="#888888", linewidth=1.0, linestyle=":", zorder=1)
    _error_bars(axes, [trial for trial in trials if trial.on_front], prefix + x, prefix + y)
    for method, style in styles.items():
        own = [trial for trial in trials if trial.method == method]
        label: str | None = plain(method)[:40]
        for kind in ("front", "bound", "other"):
            points = places(trial for trial in own if _kind(trial) == kind)
            if points:
                _scatter(axes, points, style, kind, label)
                label = None  # one legend entry per method, with its most prominent mark
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel=LABELS[x], ylabel=LABELS[y])


def _error_bars(axes: Axes, members: list[ReportTrial], x: str, y: str) -> None:
    """Draw one standard error of each front member in both directions, where it is known."""
    for trial in members:
        horizontal, vertical = getattr(trial, x), getattr(trial, y)
        if horizontal is not None and vertical is not None:
            across, up = trial.errors.get(x, 0.0), trial.errors.get(y, 0.0)
            look = {"ecolor": "#777777", "elinewidth": 0.9, "zorder": 2}
            axes.errorbar([horizontal], [vertical], xerr=across, yerr=up, fmt="none", **look)


def _kind(trial: ReportTrial) -> str:
    return "front" if trial.on_front else "bound" if trial.rob_is_bound else "other"


def _scatter(axes: Axes, points: list[Place], style: dict[str, str], kind: str, label: str | None) -> None:
    xs, ys = np.array(points).T
    colour, marker = style["colour"], style["marker"]
    if kind == "front":
        axes.scatter(xs, ys, s=90, c=colour, marker=marker, edgecolors="black", linewidths=1.2, label=label, zorder=3)
    elif kind == "bound":
        axes.scatter(xs, ys, s=34, facecolors="none", edgecolors=colour, marker=marker, label=label, zorder=2)
    else:
        axes.scatter(xs, ys, s=34, c=colour, marker=marker, alpha=0.45, linewidths=0, label=label, zorder=2)


def _control_marks(axes: Axes, report: Report, x: str, y: str) -> None:
    """Mark the original and the gold model. Their Rob is 0 and 1 by definition: they are the ends of its scale."""
    if report.controls is None:
        return
    marks = ((report.controls.original, 0.0, "X", "original model"), (report.controls.gold, 1.0, "*", "gold model"))
    for control, rob, marker, label in marks:
        place = {"ue": control.ue, "ut": control.ut, "rob": rob}
        horizontal, vertical = place[x], place[y]
        if horizontal is not None and vertical is not None:
            axes.scatter([horizontal], [vertical], s=140, c="#555555", marker=marker, label=label, zorder=4)


def _attack_panel(axes: Axes, report: Report, styles: dict[str, dict[str, str]], name: str) -> None:
    """Draw curves over attack strength. If the attack has a single strength, plot by method instead."""
    others = [trial for trial in report.trials if not trial.on_front][:CURVES_SHOWN]
    curves = [
        (trial, attack.curve)
        for trial in [*others, *(trial for trial in report.trials if trial.on_front)]
        for attack in trial.attacks
        if attack.attack == name and trial.method is not None
    ]
    single = len({point.strength for _, curve in curves for point in curve}) < 2
    places = {method: place for place, method in enumerate(styles)}
    lines: dict[tuple[bool, str], list[Place]] = {}  # one line with gaps per style: hundreds of lines are slow
    for trial, curve in curves:
        points = [(point.strength, point.still_forgotten) for point in curve if point.still_forgotten is not None]
        method = str(trial.method)
        line = lines.setdefault((trial.on_front, method), [])
        line += [(places[method] if single else strength, left) for strength, left in points]
        line.append((math.nan, math.nan))
    for (on_front, method), line in lines.items():
        style = styles[method]
        alpha, width, size = (1.0, 2.0, 5.0) if on_front else (0.3, 1.0, 3.0)
        look = {"color": style["colour"], "marker": style["marker"], "alpha": alpha, "linewidth": width}
        axes.plot(*zip(*line, strict=True), markersize=size, **look)
    units = {plain(point.unit) for _, curve in curves for point in curve}
    axes.set(ylim=(-0.04, 1.04), title=plain(name)[:32], xlabel="" if single else ", ".join(sorted(units)))
    axes.set_ylabel("still forgotten")
    if single:
        axes.set_xticks(list(places.values()), [plain(method)[:14] for method in places])
        axes.set_xlim(-0.6, len(places) - 0.4)
    if any(curve[-1].strength < curve[0].strength for _, curve in curves if curve):
        axes.invert_xaxis()  # stronger is further right: 8 bits, then 4
