"""Figures of a sweep as plotly objects, for notebooks. Colours and marks of methods are those of the report's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from unlearn_sweep.engine.search_settings import OBJECTIVE_NAMES
from unlearn_sweep.engine.search_space import title_of
from unlearn_sweep.sweeps.report.colours import method_styles
from unlearn_sweep.sweeps.report.document import Report, ReportTrial
from unlearn_sweep.sweeps.report.figure_choices import projections, report_methods
from unlearn_sweep.sweeps.report.geometry import staircase
from unlearn_sweep.sweeps.report.uncertainty import field_of
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from unlearn_sweep.sweeps.report.uncertainty import Half

Style = dict[str, str]
Kind = Literal["front", "bound", "other"]
LOOKS: dict[Kind, dict[str, float]] = {
    "other": {"size": 8, "opacity": 0.45},
    "bound": {"size": 8, "opacity": 1.0},
    "front": {"size": 13, "opacity": 1.0},
}
GREY = "#808080"
WIDTH, HEIGHT = 420, 420


def front_figure(report: Report, half: Half) -> go.Figure:
    """Draw every trial in each pair of objectives, the front outlined with one standard error, original and gold."""
    pairs = projections(report)
    figure = _panels([f"{OBJECTIVE_NAMES[x]} and {OBJECTIVE_NAMES[y]}" for x, y in pairs])
    for place, (x, y) in enumerate(pairs, start=1):
        steps = staircase(_places((one for one in report.trials if one.on_front), x, y, half))
        if steps:
            line = go.Scatter(x=[step[0] for step in steps], y=[step[1] for step in steps], mode="lines")
            figure.add_trace(line.update(line={"color": GREY, "dash": "dot"}, showlegend=False), row=1, col=place)
        for trace in _marks(report, x, y, half, legend=place == 1):
            figure.add_trace(trace, row=1, col=place)
        for trace in _controls(report, x, y, legend=place == 1):
            figure.add_trace(trace, row=1, col=place)
        figure.update_xaxes(title_text=OBJECTIVE_NAMES[x], range=[-0.05, 1.08], row=1, col=place)
        figure.update_yaxes(title_text=OBJECTIVE_NAMES[y], range=[-0.05, 1.08], row=1, col=place)
    return figure


def history_figure(report: Report, half: Half) -> go.Figure:
    """Draw each objective by trial number, with the best value so far of feasible trials without upper bounds."""
    figure = _panels([OBJECTIVE_NAMES[name] for name in report.objectives])
    counted = sorted((one for one in report.trials if one.state != "duplicate"), key=lambda one: one.number)
    for place, name in enumerate(report.objectives, start=1):
        measured = [(one, value) for one in counted if (value := getattr(one, field_of(name, half))) is not None]
        sure = [(one, v) for one, v in measured if one.infeasible is None and not (name == "rob" and one.rob_is_bound)]
        best = list(accumulate((value for _, value in sure), max))
        line = go.Scatter(x=[one.number for one, _ in sure], y=best, mode="lines", name="best so far")
        line.update(line={"color": GREY, "shape": "hv"}, showlegend=place == 1)
        figure.add_trace(line, row=1, col=place)
        for method, style in method_styles(report_methods(report)).items():
            own = [(one, value) for one, value in measured if one.method == method]
            trace = _scatter([one for one, _ in own], [one.number for one, _ in own], [v for _, v in own], style)
            figure.add_trace(trace.update(name=method, showlegend=place == 1, legendgroup=method), row=1, col=place)
        figure.update_xaxes(title_text="trial", row=1, col=place)
        figure.update_yaxes(range=[-0.05, 1.08], row=1, col=place)
    return figure


def hypervolume_figure(report: Report) -> go.Figure:
    """Draw the hypervolume of the front, on the search half, after each settled trial."""
    curve = report.hypervolume_curve
    line = go.Scatter(x=[point[0] for point in curve], y=[point[1] for point in curve], mode="lines")
    figure = go.Figure(line.update(line={"shape": "hv"}))
    return figure.update_layout(xaxis_title="settled trials", yaxis_title="hypervolume", yaxis_rangemode="tozero")


def attack_figure(report: Report, attack: str | None) -> go.Figure:
    """Draw what each trial still has forgotten over the strength of one attack; None: the one with most strengths.

    Measured on the search half. 1: as the gold model under the same attack; 0: as the original under it.

    Raises:
        UserError: no such attack has a curve.
    """
    curves: dict[str, set[float]] = {}
    for found in (found for one in report.trials for found in one.attacks):
        curves.setdefault(found.attack, set()).update(point.strength for point in found.curve)
    names = [name for name, strengths in curves.items() if strengths]
    chosen = max(names, key=lambda name: len(curves[name]), default=None) if attack is None else attack
    if chosen not in names:
        raise UserError(f"no curve of attack {attack!r}", advice=f"Attacks with one: {', '.join(names) or 'none'}.")
    figure, named = go.Figure(), set[str]()
    styles = method_styles(report_methods(report))
    for one in report.trials:
        points = [p for a in one.attacks if a.attack == chosen for p in a.curve if p.still_forgotten is not None]
        if points and one.method is not None:
            strengths, left = [p.strength for p in points], [p.still_forgotten for p in points]
            line = _line(one, strengths, [value for value in left if value is not None], styles[one.method], named)
            figure.add_trace(line)
    return figure.update_layout(title=chosen, xaxis_title="strength", yaxis_title="still forgotten")


def training_figure(report: Report, term: str | None) -> go.Figure:
    """Draw one term of the loss over the steps of each training (up to 40 points); None: a cross entropy if recorded.

    Raises:
        UserError: no trial has recorded such a term.
    """
    found = dict.fromkeys(name for one in report.trials if one.training for name in one.training.terms)
    default = next((name for name in found if name.endswith("cross_entropy")), next(iter(found), None))
    chosen = default if term is None else term
    if chosen not in found:
        raise UserError(f"no losses {term!r} are recorded", advice=f"Recorded: {', '.join(found) or 'none'}.")
    figure, named = go.Figure(), set[str]()
    styles = method_styles(report_methods(report))
    for one in report.trials:
        if one.training is not None and one.method is not None and chosen in one.training.terms:
            figure.add_trace(_line(one, one.training.steps, one.training.terms[chosen], styles[one.method], named))
    return figure.update_layout(title=chosen, xaxis_title="optimizer step")


def importance_figure(report: Report) -> go.Figure:
    """Draw how much each setting of a method matters for each objective (PED-ANOVA): shares that add up to 1.

    Raises:
        UserError: no method has enough trials for it.
    """
    lines = [line for line in report.importance if line.shares]
    if not lines:
        reasons = dict.fromkeys(line.reason or "no search" for line in report.importance)
        raise UserError(f"no importance yet: {', '.join(reasons) or 'no settled trial'}", advice="Run more trials.")
    methods = list(dict.fromkeys(line.method for line in lines))
    figure = _panels(methods)
    for line in lines:
        bar = go.Bar(x=list(line.shares), y=list(line.shares.values()), name=OBJECTIVE_NAMES[line.objective])
        column = methods.index(line.method) + 1
        figure.add_trace(bar.update(legendgroup=line.objective, showlegend=column == 1), row=1, col=column)
    return figure.update_yaxes(range=[0, 1])


def parallel_figure(report: Report, method: str) -> go.Figure:
    """Draw the settings that vary and the objectives (search half) of one method's complete trials, one line each.

    Raises:
        UserError: the method has no complete trial.
    """
    own = [one for one in report.trials if one.method == method and one.state == "complete"]
    own = [one for one in own if all(getattr(one, name) is not None for name in report.objectives)]
    if not own:
        known = ", ".join(report_methods(report))
        raise UserError(f"no complete trial of {method!r}", advice=f"Methods of this sweep: {known or 'none'}.")
    names = dict.fromkeys(name for one in own for name in one.params)
    varying = [name for name in names if len({repr(one.params.get(name)) for one in own}) > 1]
    axes = [_axis(name, [one.params.get(name) for one in own]) for name in varying]
    axes += [_axis(OBJECTIVE_NAMES[name], [getattr(one, name) for one in own]) for name in report.objectives]
    colour = [getattr(one, report.objectives[-1]) for one in own]
    return go.Figure(go.Parcoords(dimensions=axes, line={"color": colour, "colorscale": "Viridis", "showscale": True}))


def _panels(titles: Sequence[str]) -> go.Figure:
    figure = make_subplots(rows=1, cols=len(titles), subplot_titles=list(titles))
    return figure.update_layout(width=WIDTH * len(titles), height=HEIGHT, margin={"l": 40, "r": 20, "t": 40, "b": 40})


def _places(trials: Iterable[ReportTrial], x: str, y: str, half: Half) -> list[tuple[float, float]]:
    pairs = ((getattr(one, field_of(x, half)), getattr(one, field_of(y, half))) for one in trials)
    return [pair for pair in pairs if None not in pair]


def _marks(report: Report, x: str, y: str, half: Half, *, legend: bool) -> Iterable[go.Scatter]:
    for method, style in method_styles(report_methods(report)).items():
        own = [one for one in report.trials if one.method == method and one.state != "duplicate"]
        named = not legend
        for kind in ("front", "bound", "other"):
            chosen = [one for one in own if _kind(one) == kind and _places([one], x, y, half)]
            if not chosen:
                continue
            places = _places(chosen, x, y, half)
            trace = _scatter(chosen, [place[0] for place in places], [place[1] for place in places], style, kind)
            if kind == "front":
                trace.update(error_x=_error(chosen, x, half), error_y=_error(chosen, y, half))
            yield trace.update(name=method, legendgroup=method, showlegend=not named)
            named = True


def _error(trials: Sequence[ReportTrial], name: str, half: Half) -> dict[str, object]:
    return {"array": [one.errors.get(field_of(name, half), 0.0) for one in trials], "thickness": 1, "width": 0}


def _controls(report: Report, x: str, y: str, *, legend: bool) -> Iterable[go.Scatter]:
    """Yield the marks of original and gold. Their Rob is 0 and 1 by definition: they are the ends of its scale."""
    if report.controls is None:
        return
    for control, rob, symbol in ((report.controls.original, 0.0, "x"), (report.controls.gold, 1.0, "star")):
        values = {"ue": control.ue, "ut": control.ut, "rob": rob}
        if values[x] is not None and values[y] is not None:
            mark = go.Scatter(x=[values[x]], y=[values[y]], mode="markers", name=f"{control.model} model")
            yield mark.update(marker={"symbol": symbol, "size": 12, "color": "#555555"}, showlegend=legend)


def _kind(trial: ReportTrial) -> Kind:
    return "front" if trial.on_front else "bound" if trial.rob_is_bound else "other"


def _scatter(
    trials: Sequence[ReportTrial], x: Sequence[float], y: Sequence[float], style: Style, kind: Kind = "other"
) -> go.Scatter:
    edge = {"color": "#222222" if kind == "front" else style["colour"], "width": 1.5 if kind != "other" else 0}
    symbol = style["symbol"] + ("-open" if kind == "bound" else "")
    marker = {"symbol": symbol, "color": style["colour"], "line": edge, **LOOKS[kind]}
    return go.Scatter(
        x=x, y=y, mode="markers", marker=marker, text=[_words(one) for one in trials], hoverinfo="text+x+y"
    )


def _line(
    trial: ReportTrial, x: Sequence[float], y: Sequence[float | None], style: Style, named: set[str]
) -> go.Scatter:
    """Return a trial's line; the first of a method, not yet in `named`, is in the legend."""
    method = str(trial.method)
    shown = method not in named
    named.add(method)
    look = {"color": style["colour"], "width": 2.5 if trial.on_front else 1}
    line = go.Scatter(x=x, y=y, mode="lines+markers" if len(x) < 12 else "lines", line=look, text=_words(trial))
    line.update(opacity=1.0 if trial.on_front else 0.4, marker={"symbol": style["symbol"]})
    return line.update(name=method, legendgroup=method, showlegend=shown)


def _words(trial: ReportTrial) -> str:
    values = [
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in trial.params.items()
    ]
    bound = ["Rob is an upper bound"] if trial.rob_is_bound else []
    texts = [f"trial {title_of(trial.number, trial.params)}: {trial.method}", *bound, *values[:12]]
    return "<br>".join(text.replace("&", "&amp;").replace("<", "&lt;")[:80] for text in texts)


def _axis(label: str, values: Sequence[object]) -> dict[str, object]:
    """Return an axis of numbers; values that are not all numbers become places with their names."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return {"label": label, "values": values}
    names = sorted({str(value) for value in values})
    places = list(range(len(names)))
    return {
        "label": label,
        "values": [names.index(str(value)) for value in values],
        "tickvals": places,
        "ticktext": names,
    }
